package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"distd/pkg/swarm/bitmap"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limits are those of a torrent of 20 pieces of 32 KiB, the last of 100 bytes.
func limits() Limits {
	return Limits{Pieces: 20, PieceLength: 32 << 10, Total: 19*(32<<10) + 100, MaxBlock: 32 << 10, Fast: true, Extensions: true}
}

// frame is a message as it is on the wire.
func frame(t Type, payload ...byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)))
	return append(append(b, byte(t)), payload...)
}

func u32(vs ...uint32) []byte {
	var b []byte
	for _, v := range vs {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

func pieceFrame(b Block, data []byte) []byte { return append(appendPieceHead(nil, b), data...) }

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	return b
}

// readAll decodes r until it ends. Blocks and payloads are copied.
func readAll(r *Reader) ([]Message, error) {
	var out []Message
	for {
		var m Message
		if err := r.Next(&m); err != nil {
			return out, err
		}
		m.Data = bytes.Clone(m.Data)
		out = append(out, m)
	}
}

func same(a, b []Message) bool { return fmt.Sprintf("%x", a) == fmt.Sprintf("%x", b) }

// everyMessage is one of each, with payloads of up to longest bytes, and what
// is to be read from it.
func everyMessage(longest int) (stream []byte, want []Message) {
	block, part := noise(16<<10), noise(100)
	ext, bits := noise(longest), []byte{0x80, 0, 0x10}
	for _, c := range []struct {
		b []byte
		m Message
	}{
		{[]byte{0, 0, 0, 0}, Message{Type: KeepAlive}},
		{frame(Choke), Message{Type: Choke}},
		{frame(Unchoke), Message{Type: Unchoke}},
		{frame(Interested), Message{Type: Interested}},
		{frame(NotInterested), Message{Type: NotInterested}},
		{frame(Bitfield, bits...), Message{Type: Bitfield, Data: bits}},
		{frame(Have, u32(19)...), Message{Type: Have, Index: 19}},
		{frame(Request, u32(3, 16384, 16384)...), Message{Type: Request, Index: 3, Begin: 16384, Length: 16384}},
		{frame(Cancel, u32(19, 99, 1)...), Message{Type: Cancel, Index: 19, Begin: 99, Length: 1}},
		{pieceFrame(Block{2, 0, 16 << 10}, block), Message{Type: Piece, Index: 2, Length: 16 << 10, Data: block}},
		{pieceFrame(Block{19, 0, 100}, part), Message{Type: Piece, Index: 19, Length: 100, Data: part}},
		{frame(Port, 0x1a, 0xe1), Message{Type: Port, Port: 6881}},
		{frame(Suggest, u32(1)...), Message{Type: Suggest, Index: 1}},
		{frame(HaveAll), Message{Type: HaveAll}},
		{frame(HaveNone), Message{Type: HaveNone}},
		{frame(Reject, u32(0, 0, 32<<10)...), Message{Type: Reject, Length: 32 << 10}},
		{frame(AllowedFast, u32(7)...), Message{Type: AllowedFast, Index: 7}},
		{frame(Extended, append([]byte{3}, ext...)...), Message{Type: Extended, ExtID: 3, Data: ext}},
		{frame(Extended, 0), Message{Type: Extended}},
		{frame(99, noise(min(longest, 9000))...), Message{Type: Unknown}},
		{frame(Have, u32(0)...), Message{Type: Have}},
	} {
		stream = append(stream, c.b...)
		want = append(want, c.m)
	}
	return stream, want
}

func TestReadEveryMessage(t *testing.T) {
	stream, want := everyMessage(300 << 10)
	sink := func(b Block) []byte { return make([]byte, b.Length) }
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r },
		"bytes": iotest.OneByteReader,
		"half":  iotest.HalfReader,
		"eof":   iotest.DataErrReader,
	} {
		for _, s := range []Sink{nil, sink} {
			for _, size := range []int{0, 1, 64 << 10, 1 << 20} {
				r := NewReader(wrap(bytes.NewReader(stream)), ReaderConfig{Limits: limits(), Sink: s, MaxBuffer: size})
				got, err := readAll(r)
				if !errors.Is(err, io.EOF) || !same(got, want) {
					t.Errorf("%s, sink %v, buffer %d: %d messages, %v", name, s != nil, size, len(got), err)
				}
				if r.BytesRead() != int64(len(stream)) || r.BlockBytes() != 16<<10+100 {
					t.Errorf("%s: counted %d bytes, %d of blocks", name, r.BytesRead(), r.BlockBytes())
				}
			}
		}
	}
}

// TestReadTruncated ends the stream at every byte of some messages.
func TestReadTruncated(t *testing.T) {
	for _, whole := range [][]byte{
		frame(Have, u32(1)...), frame(Bitfield, 0, 0, 0), frame(Request, u32(1, 2, 3)...), frame(Port, 1, 2),
		pieceFrame(Block{1, 2, 30}, noise(30)), frame(Extended, 1, 2, 3), frame(77, 1, 2, 3),
	} {
		for n := range whole {
			for _, sink := range []Sink{nil, func(Block) []byte { return nil }, func(b Block) []byte { return make([]byte, b.Length) }} {
				_, err := readAll(NewReader(bytes.NewReader(whole[:n]), ReaderConfig{Limits: limits(), Sink: sink}))
				want := io.ErrUnexpectedEOF
				if n == 0 {
					want = io.EOF
				}
				if !errors.Is(err, want) {
					t.Errorf("%x cut after %d bytes: %v, want %v", whole, n, err, want)
				}
			}
		}
	}
}

func TestReadViolations(t *testing.T) {
	huge := func(t Type, n uint32) []byte { return append(u32(n), byte(t)) }
	slow := func(f func(*Limits)) Limits { l := limits(); f(&l); return l }
	all := limits()
	unknown := Limits{Fast: true, Extensions: true}
	for _, c := range []struct {
		name string
		l    Limits
		b    []byte
	}{
		{"long choke", all, frame(Choke, 1)},
		{"short have", all, frame(Have, 1, 2, 3)},
		{"long have", all, frame(Have, 1, 2, 3, 4, 5)},
		{"have of a piece too many", all, frame(Have, u32(20)...)},
		{"have of the last number", all, frame(Have, u32(1<<32-1)...)},
		{"have before the metadata", unknown, frame(Have, u32(MaxBitfield*8)...)},
		{"short bitfield", all, frame(Bitfield, 0, 0)},
		{"long bitfield", all, frame(Bitfield, 0, 0, 0, 0)},
		{"huge bitfield", unknown, huge(Bitfield, MaxBitfield+2)},
		{"spare bits", all, frame(Bitfield, 0, 0, 0x08)},
		{"short request", all, frame(Request, u32(1, 2)...)},
		{"request of nothing", all, frame(Request, u32(1, 0, 0)...)},
		{"request behind the piece", all, frame(Request, u32(1, 32<<10, 1)...)},
		{"request over the end", all, frame(Request, u32(19, 0, 101)...)},
		{"request that overflows", all, frame(Request, u32(1, 1<<32-1, 16384)...)},
		{"request of a piece too many", all, frame(Request, u32(20, 0, 1)...)},
		{"long request", slow(func(l *Limits) { l.MaxRequest = 16 << 10 }), frame(Request, u32(1, 0, 16<<10+1)...)},
		{"request before the metadata", unknown, frame(Request, u32(0, 0, 1)...)},
		{"cancel behind the piece", all, frame(Cancel, u32(1, 32<<10, 1)...)},
		{"piece without a block", all, frame(Piece, u32(1, 0)...)},
		{"short piece", all, frame(Piece, 1)},
		{"long block", all, huge(Piece, 9+32<<10+1)},
		{"huge block", all, huge(Piece, 1<<32-1)},
		{"block behind the piece", all, pieceFrame(Block{19, 1, 100}, noise(100))},
		{"block before the metadata", unknown, pieceFrame(Block{0, 0, 1}, noise(1))},
		{"port of one byte", all, frame(Port, 1)},
		{"have all without fast", slow(func(l *Limits) { l.Fast = false }), frame(HaveAll)},
		{"reject without fast", slow(func(l *Limits) { l.Fast = false }), frame(Reject, u32(1, 0, 1)...)},
		{"suggest of a piece too many", all, frame(Suggest, u32(20)...)},
		{"extended without the bit", slow(func(l *Limits) { l.Extensions = false }), frame(Extended, 0)},
		{"extended without id", all, frame(Extended)},
		{"huge extended", all, huge(Extended, DefaultMaxExtended+3)},
		{"long extended", slow(func(l *Limits) { l.MaxExtended = 10 }), huge(Extended, 13)},
		{"huge unknown", all, huge(200, 1<<31)},
		{"http", all, []byte("GET / HTTP/1.1\r\n")},
	} {
		r := NewReader(bytes.NewReader(c.b), ReaderConfig{Limits: c.l})
		_, err := readAll(r)
		if !IsProtocolError(err) || !strings.Contains(err.Error(), "peer broke the protocol") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestAnnouncedLengthCostsNothing announces a long message and sends nothing.
func TestAnnouncedLengthCostsNothing(t *testing.T) {
	l := limits()
	l.MaxExtended = 1 << 30
	n := testing.AllocsPerRun(1, func() {
		r := NewReader(io.MultiReader(bytes.NewReader(append(u32(1<<30), byte(Extended), 1)), iotest.ErrReader(io.ErrClosedPipe)), ReaderConfig{Limits: l})
		var m Message
		if err := r.Next(&m); !errors.Is(err, io.ErrClosedPipe) {
			t.Fatal(err)
		}
		if cap(r.big) > DefaultReadBuffer || cap(r.in.buf) > 2*DefaultReadBuffer {
			t.Errorf("%d and %d bytes were set aside", cap(r.big), cap(r.in.buf))
		}
	})
	t.Log(n, "allocations")
}

func TestSetLimitsWhenMetadataArrives(t *testing.T) {
	stream := slices.Concat(frame(Bitfield, noise(5000)...), frame(Have, u32(39000)...), frame(Request, u32(1, 0, 10)...))
	r := NewReader(bytes.NewReader(stream), ReaderConfig{})
	var m Message
	for _, want := range []Type{Bitfield, Have} {
		if err := r.Next(&m); err != nil || m.Type != want {
			t.Fatal(m.Type, err)
		}
	}
	r.SetLimits(limits())
	if err := r.Next(&m); err != nil || m.Type != Request || r.Limits().Pieces != 20 {
		t.Fatal(m.Type, err)
	}
}

// TestSink checks that blocks land in the memory given, that unwanted ones are
// skipped, and that the wrong length of memory is an error and no panic.
func TestSink(t *testing.T) {
	data := noise(32 << 10)
	stream := slices.Concat(
		pieceFrame(Block{0, 0, 32 << 10}, data), pieceFrame(Block{1, 0, 32 << 10}, data), frame(Unchoke),
		pieceFrame(Block{2, 0, 16 << 10}, data[:16<<10]))
	mem := make([]byte, 64<<10)
	var asked []Block
	r := NewReader(iotest.HalfReader(bytes.NewReader(stream)), ReaderConfig{Limits: limits(), Sink: func(b Block) []byte {
		asked = append(asked, b)
		switch b.Index {
		case 0:
			return mem[100 : 100+b.Length]
		case 1:
			return nil
		}
		return mem[:1]
	}})
	var m Message
	if err := r.Next(&m); err != nil || &m.Data[0] != &mem[100] || !bytes.Equal(m.Data, data) {
		t.Fatalf("first block: %v", err)
	}
	if err := r.Next(&m); err != nil || m.Type != Piece || m.Data != nil || m.Length != 32<<10 {
		t.Fatalf("unwanted block: %v %v", m.Block(), err)
	}
	if err := r.Next(&m); err != nil || m.Type != Unchoke {
		t.Fatalf("after an unwanted block: %v %v", m.Type, err)
	}
	if err := r.Next(&m); err == nil || IsProtocolError(err) {
		t.Fatalf("wrong memory: %v", err)
	}
	if len(asked) != 3 || asked[1] != (Block{1, 0, 32 << 10}) {
		t.Errorf("asked for %v", asked)
	}
}

func TestReadAllocatesNothing(t *testing.T) {
	data := noise(16 << 10)
	stream := slices.Concat(pieceFrame(Block{1, 0, 16 << 10}, data), frame(Have, u32(3)...), frame(Request, u32(1, 2, 3)...), frame(Bitfield, 0, 0, 0))
	mem := make([]byte, 16<<10)
	src := &loop{b: stream}
	r := NewReader(src, ReaderConfig{Limits: limits(), Sink: func(Block) []byte { return mem }})
	var m Message
	next := func() {
		for range 4 {
			if err := r.Next(&m); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 50 {
		next() // lets the buffer grow
	}
	if n := testing.AllocsPerRun(200, next); n > 0 {
		t.Errorf("%v allocations for four messages", n)
	}
}

// loop repeats its bytes for ever.
type loop struct {
	b  []byte
	at int
}

func (l *loop) Read(p []byte) (int, error) {
	n := copy(p, l.b[l.at:])
	l.at = (l.at + n) % len(l.b)
	return n, nil
}

func TestBufferFollowsThePace(t *testing.T) {
	big := &loop{b: bytes.Repeat(frame(Unchoke), 1<<16)}
	var src io.Reader = big
	r := NewReader(readerFunc(func(p []byte) (int, error) { return src.Read(p) }), ReaderConfig{Limits: limits()})
	var m Message
	read := func(n int) {
		for range n {
			if err := r.Next(&m); err != nil {
				t.Fatal(err)
			}
		}
	}
	read(1)
	if n := len(r.in.buf); n > 2*MinReadBuffer {
		t.Errorf("buffer of %d bytes after one message", n)
	}
	read(1 << 18)
	if n := len(r.in.buf); n != DefaultReadBuffer {
		t.Errorf("buffer of %d bytes on a busy connection", n)
	}
	src = iotest.OneByteReader(big)
	read(1 << 17)
	if n := len(r.in.buf); n != MinReadBuffer {
		t.Errorf("buffer of %d bytes on a slow connection", n)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestReaderWithoutProgress(t *testing.T) {
	r := NewReader(readerFunc(func([]byte) (int, error) { return 0, nil }), ReaderConfig{})
	var m Message
	if err := r.Next(&m); !errors.Is(err, io.ErrNoProgress) {
		t.Fatal(err)
	}
}

func TestReadTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer func() { _, _ = a.Close(), b.Close() }()
		r := NewReader(a, ReaderConfig{Limits: limits(), Timeout: time.Minute})
		go func() {
			for range 3 {
				time.Sleep(50 * time.Second)
				_, _ = b.Write(frame(Unchoke))
			}
		}()
		start := time.Now()
		got, err := readAll(r)
		var ne net.Error
		if len(got) != 3 || !errors.As(err, &ne) || !ne.Timeout() || time.Since(start) != 210*time.Second {
			t.Errorf("%d messages, then %v after %v", len(got), err, time.Since(start))
		}
	})
}

// FuzzReader decodes any bytes twice, in one read and in many, with and without
// a sink: no panic, no excess of memory, and the same messages.
func FuzzReader(f *testing.F) {
	stream, _ := everyMessage(100)
	f.Add(stream, uint16(20), true)
	for _, b := range [][]byte{
		frame(Have, u32(1)...), frame(Bitfield, 1, 2, 0xf0), pieceFrame(Block{1, 0, 4}, []byte("data")), frame(Extended, 0, 'd', 'e'),
		u32(1 << 31), append(u32(9), byte(Piece)), {0, 0, 0, 0, 0, 0, 0, 1, 2},
	} {
		f.Add(b, uint16(20), true)
		f.Add(b, uint16(0), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, pieces uint16, ext bool) {
		l := Limits{Pieces: int(pieces), PieceLength: 32 << 10, Total: int64(pieces)*(32<<10) - int64(pieces%5), MaxBlock: 32 << 10, Fast: ext, Extensions: ext, MaxExtended: 1 << 16}
		r := NewReader(bytes.NewReader(b), ReaderConfig{Limits: l})
		first, err1 := readAll(r)
		if r.BytesRead() > int64(len(b)) || len(r.in.buf) > 2*DefaultReadBuffer {
			t.Fatalf("%d bytes read of %d, buffer of %d", r.BytesRead(), len(b), len(r.in.buf))
		}
		sink := func(b Block) []byte {
			if int64(b.Begin)+int64(b.Length) > 32<<10 || b.Index >= uint32(pieces) {
				t.Fatalf("sink was asked for %v", b)
			}
			return make([]byte, b.Length)
		}
		second, err2 := readAll(NewReader(iotest.OneByteReader(bytes.NewReader(b)), ReaderConfig{Limits: l, Sink: sink, MaxBuffer: 1}))
		if !same(first, second) || fmt.Sprint(err1) != fmt.Sprint(err2) {
			t.Fatalf("whole: %d messages, %v; in bytes: %d messages, %v", len(first), err1, len(second), err2)
		}
		for _, m := range first {
			if m.Type == Bitfield && pieces > 0 {
				if _, err := bitmap.FromBytes(m.Data, int(pieces)); err != nil {
					t.Fatalf("bitfield passed: %v", err)
				}
			}
		}
	})
}
