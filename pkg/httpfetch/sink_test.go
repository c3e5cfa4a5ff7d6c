package httpfetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"distd/internal/layout"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// badPiece is the error of a piece that does not verify.
type badPiece struct{}

func (badPiece) Error() string  { return "piece does not verify" }
func (badPiece) BadPiece() bool { return true }

// memSink keeps a release in memory and verifies its pieces.
type memSink struct {
	t    testing.TB
	lay  *layout.Layout
	want []byte
	mu   sync.Mutex
	got  []byte
	// state of each piece: 0 missing, 1 claimed, 2 there
	state   []byte
	left    int
	fail    error // of Deliver
	reject  func(piece int) bool
	done    chan struct{}
	changed chan struct{}
	twice   int
}

func newSink(t testing.TB, pieceLength int64, files ...layout.File) *memSink {
	t.Helper()
	lay, err := layout.New(pieceLength, files)
	if err != nil {
		t.Fatal(err)
	}
	s := &memSink{t: t, lay: lay, want: content(lay.Total), got: make([]byte, lay.Total), state: make([]byte, lay.NumPieces()), left: lay.NumPieces(), done: make(chan struct{}), changed: make(chan struct{}, 1)}
	if s.left == 0 {
		close(s.done)
	}
	return s
}

// content is n bytes that are the same each time.
func content(n int64) []byte {
	b := make([]byte, n)
	var seed [32]byte
	_, _ = rand.NewChaCha8(seed).Read(b)
	return b
}

// with is a sink of the same layout with other bytes, for a server.
func (s *memSink) with(bytes []byte) *memSink { return &memSink{t: s.t, lay: s.lay, want: bytes} }

// file is the bytes of file i.
func (s *memSink) file(i int) []byte {
	off := s.lay.Offset(i)
	return s.want[off : off+s.lay.Files[i].Length]
}

func (s *memSink) Layout() *layout.Layout   { return s.lay }
func (s *memSink) Done() <-chan struct{}    { return s.done }
func (s *memSink) Changed() <-chan struct{} { return s.changed }

func (s *memSink) Claim(_ string, most int) (first, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.state {
		if s.state[i] != 0 {
			continue
		}
		for i+n < len(s.state) && n < most && s.state[i+n] == 0 {
			s.state[i+n] = 1
			n++
		}
		return i, n
	}
	return 0, 0
}

func (s *memSink) Unclaim(first, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := first; i < first+n; i++ {
		if s.state[i] != 1 {
			s.t.Errorf("piece %d unclaimed in state %d", i, s.state[i])
		}
		s.state[i] = 0
	}
	s.signal()
}

func (s *memSink) signal() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *memSink) Deliver(ctx context.Context, _ string, piece int, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	off, size := s.lay.PieceOffset(piece), s.lay.PieceSize(piece)
	if int64(len(data)) != size {
		s.t.Errorf("piece %d delivered with %d bytes, not %d", piece, len(data), size)
	}
	if s.reject != nil && s.reject(piece) || sha256.Sum256(data) != sha256.Sum256(s.want[off:off+size]) {
		return fmt.Errorf("deliver: %w", badPiece{})
	}
	if s.fail != nil {
		return s.fail
	}
	switch s.state[piece] {
	case 0:
		s.t.Errorf("piece %d delivered without a claim", piece)
	case 2:
		s.twice++
		return nil
	}
	copy(s.got[off:], data)
	s.state[piece] = 2
	if s.left--; s.left == 0 {
		close(s.done)
	}
	return nil
}

// check fails the test unless every byte is right and nothing stays claimed.
func (s *memSink) check() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !bytes.Equal(s.got, s.want) {
		s.t.Error("bytes differ")
	}
	if s.twice > 0 {
		s.t.Errorf("%d pieces were delivered twice", s.twice)
	}
	s.claims(0)
}

func (s *memSink) claims(want int) {
	s.t.Helper()
	n := 0
	for _, st := range s.state {
		if st == 1 {
			n++
		}
	}
	if n != want {
		s.t.Errorf("%d pieces are claimed, want %d", n, want)
	}
}

var errDisk = errors.New("no space left on device")
