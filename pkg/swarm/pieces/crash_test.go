package pieces

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"distd/pkg/swarm/pieces/piecestest"
)

func big() *piecestest.Release { return piecestest.NewRelease(4096, 5*4096, 0, 10000, 3*4096) }

// TestCrash stops using a store without a word, as a crash does: what was
// synced is known without hashing, what was only written is hashed.
func TestCrash(t *testing.T) {
	r := big()
	p := newPlace(t, "")
	s := filled(t, p.config(r), r, 0, 3, 6)
	mustSync(t, s)
	write(t, s, r, 1, 7)

	c, hashed := counting(p.config(r))
	var calls, last, total int64
	again := mustOpen(t, c)
	if err := again.Recover(t.Context(), func(done, of int64) { calls, last, total = calls+1, done, of }); err != nil {
		t.Fatal(err)
	}
	if got := slices.Collect(again.Have().Ones()); !slices.Equal(got, []int{0, 1, 3, 6, 7}) {
		t.Errorf("have %v", got)
	}
	// Pieces between that share a block of the disk with one written may be
	// hashed too, the synced ones never.
	if n := hashed.Load(); n < 2 || n > 4 {
		t.Errorf("%d pieces hashed, want 2 and a few neighbours", n)
	}
	if calls < 2 || last != total || total != hashed.Load()*4096 {
		t.Errorf("progress called %d times, last %d of %d", calls, last, total)
	}
	// What was found by hashing is synced and recorded like what was written.
	mustSync(t, again)
	c, hashed = counting(p.config(r))
	recovered(t, c)
	if n := hashed.Load(); n > 2 {
		t.Errorf("%d pieces hashed after all was recorded", n)
	}
}

// TestHalfWrittenPiece is a crash in the middle of a piece.
func TestHalfWrittenPiece(t *testing.T) {
	r := big()
	p := newPlace(t, "")
	s := filled(t, p.config(r), r, 2)
	mustSync(t, s)
	if err := s.writeSegment(0, r.Piece(1)[:2000], 4096); err != nil {
		t.Fatal(err)
	}
	again := recovered(t, p.config(r))
	if got := slices.Collect(again.Have().Ones()); !slices.Equal(got, []int{2}) {
		t.Errorf("have %v, want only 2", got)
	}
	write(t, again, r, 1)
	piecestest.CheckPiece(t, again, r, 1)
}

// TestRecordIsBound tries records that are torn, changed in one byte, of
// another release or of another layout: each leads to hashing, none to a wrong
// piece.
func TestRecordIsBound(t *testing.T) {
	r := piecestest.NewRelease(64, 5*64)
	p := newPlace(t, "")
	mustSync(t, filled(t, p.config(r), r))
	good, err := os.ReadFile(p.progress)
	if err != nil {
		t.Fatal(err)
	}
	// The data is spoilt, so that trusting the record shows.
	file := filepath.Join(p.dir, r.Layout.Files[0].Path)
	if err := os.WriteFile(file, make([]byte, r.Layout.Total), 0o600); err != nil {
		t.Fatal(err)
	}
	try := func(what string, record []byte, c Config, want int) {
		t.Helper()
		if err := os.WriteFile(p.progress, record, 0o600); err != nil {
			t.Fatal(err)
		}
		c, hashed := counting(c)
		s := recovered(t, c)
		if s.Have().Count() != want || int(hashed.Load()) != 5-want {
			t.Errorf("%s: have %d, hashed %d, want %d and %d", what, s.Have().Count(), hashed.Load(), want, 5-want)
		}
	}
	try("good record", good, p.config(r), 5)
	for i := range good {
		try("torn record", good[:i], p.config(r), 0)
		b := bytes.Clone(good)
		b[i] ^= 0x10
		try("flipped bit", b, p.config(r), 0)
	}
	try("longer record", append(bytes.Clone(good), 0), p.config(r), 0)
	other := p.config(r)
	other.Identity[31]++
	try("another release", good, other, 0)
	moved := *r.Layout
	moved.Files = slices.Clone(moved.Files)
	moved.Files[0].Path += "x"
	if identity([32]byte{7}, &moved) == identity([32]byte{7}, r.Layout) {
		t.Error("the identity does not depend on the paths")
	}
}

// TestRecordAfterData checks the order of writing: when a file is synced, the
// record must not name what that sync makes durable.
func TestRecordAfterData(t *testing.T) {
	r := big()
	p := newPlace(t, "")
	s := filled(t, p.config(r), r, 0)
	synced := 0
	s.fsync = func(f *os.File) error {
		synced++
		if _, err := os.Stat(p.progress); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the record is there before the data is synced: %v", err)
		}
		return f.Sync()
	}
	mustSync(t, s)
	if _, err := os.Stat(p.progress); err != nil || synced != 1 {
		t.Fatalf("%d files synced, record: %v", synced, err)
	}
	mustSync(t, s)
	if synced != 1 {
		t.Error("synced again what did not change")
	}
	// A piece that is dropped is out of the record before it is overwritten.
	s.fsync = (*os.File).Sync
	s.Drop(0)
	write(t, s, r, 0)
	have, _, err := readRecord(p.progress, s.identity, r.Layout.NumPieces(), 0)
	if err != nil || have.Has(0) {
		t.Errorf("record names a piece that is being overwritten: %v", err)
	}
	mustSync(t, s)
	if have, _, _ = readRecord(p.progress, s.identity, r.Layout.NumPieces(), 0); !have.Has(0) {
		t.Error("record does not name the piece after the next Sync")
	}
}

func TestDropDuringSync(t *testing.T) {
	r := big()
	p := newPlace(t, "")
	s := filled(t, p.config(r), r, 0, 1)
	s.fsync = func(*os.File) error {
		s.Drop(0)
		return nil
	}
	mustSync(t, s)
	have, _, err := readRecord(p.progress, s.identity, r.Layout.NumPieces(), 0)
	if err != nil || have.Has(0) || !have.Has(1) {
		t.Errorf("record names a dropped piece, or not the other: %v", err)
	}
}

// TestSyncFails checks that pieces whose data the kernel may have thrown away
// are fetched again, and those made durable before are not.
func TestSyncFails(t *testing.T) {
	many := make([]int64, syncAllFrom+8)
	for i := range many {
		many[i] = 4096
	}
	for name, r := range map[string]*piecestest.Release{"one file": big(), "file system": piecestest.NewRelease(4096, many...)} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, "")
			s := filled(t, p.config(r), r, 0)
			mustSync(t, s)
			for i := 1; i < r.Layout.NumPieces(); i++ {
				write(t, s, r, i)
			}
			fail := func(*os.File) error { return syscall.ENOSPC }
			s.fsync, s.syncfs = fail, fail
			var lost *LostError
			err := s.Sync(t.Context())
			if !errors.As(err, &lost) || !errors.Is(err, ErrNoSpace) || len(lost.Pieces) == 0 {
				t.Fatalf("Sync: %v", err)
			}
			if !s.Has(0) || slices.Contains(lost.Pieces, 0) {
				t.Error("a durable piece was dropped")
			}
			for _, i := range lost.Pieces {
				if s.Has(i) {
					t.Errorf("piece %d is lost and there", i)
				}
			}
			s.fsync, s.syncfs = (*os.File).Sync, syncFS
			write(t, s, r, lost.Pieces...)
			mustSync(t, s)
			c, hashed := counting(p.config(r))
			if again := recovered(t, c); !again.Have().All() || hashed.Load() != 0 {
				t.Errorf("have %d of %d, hashed %d", again.Have().Count(), again.Have().Len(), hashed.Load())
			}
		})
	}
}

func TestRecordCannotBeWritten(t *testing.T) {
	r := big()
	p := newPlace(t, "")
	c := p.config(r)
	c.ProgressFile = filepath.Join(p.dir, "missing", "progress")
	s := filled(t, c, r)
	if err := s.Sync(t.Context()); err == nil {
		t.Fatal("Sync without a place for the record")
	}
	if !s.Have().All() {
		t.Fatal("pieces were dropped")
	}
	if err := os.Mkdir(filepath.Dir(c.ProgressFile), 0o700); err != nil {
		t.Fatal(err)
	}
	mustSync(t, s)
	if have, _, err := readRecord(c.ProgressFile, s.identity, r.Layout.NumPieces(), 0); err != nil || !have.All() {
		t.Fatalf("record after the second Sync: %v", err)
	}
}

func TestSyncEndsWithContext(t *testing.T) {
	r := big()
	s := filled(t, newPlace(t, "").config(r), r)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Sync(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	mustSync(t, s)
	if have, _, err := readRecord(s.progress, s.identity, r.Layout.NumPieces(), 0); err != nil || !have.All() {
		t.Fatalf("record after the second Sync: %v", err)
	}
}

func FuzzDecodeRecord(f *testing.F) {
	r := piecestest.NewRelease(64, 1000)
	have := mustHave(r)
	id := identity([32]byte{7}, r.Layout)
	f.Add(encodeRecord(id, have, nil), 16, 0)
	f.Add(encodeRecord(id, have, []uint64{1, 2}), 16, 2)
	f.Add([]byte(recordMagic), 0, 0)
	f.Fuzz(func(t *testing.T, b []byte, pieces, stamps int) {
		if pieces < 0 || stamps < 0 || pieces > 1<<20 || stamps > 1<<20 {
			return
		}
		have, st, err := decodeRecord(b, id, pieces, stamps)
		if err == nil && !bytes.Equal(encodeRecord(id, have, st), b) {
			t.Fatalf("%x is not what is written for it", b)
		}
	})
}
