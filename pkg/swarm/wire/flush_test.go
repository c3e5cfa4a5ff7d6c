package wire

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"pgregory.net/rapid"
)

// TestPartialWrites lets a connection take any number of bytes of each plan,
// while messages are added and dropped: every message arrives whole, blocks in
// their order, and control messages in theirs.
func TestPartialWrites(t *testing.T) {
	data := noise(32 << 10)
	f := tempFile(t, data)
	rapid.Check(t, func(t *rapid.T) {
		w := NewWriter(io.Discard, WriterConfig{Batch: rapid.SampledFrom([]int{1, 100, 40 << 10}).Draw(t, "batch")})
		var out bytes.Buffer
		var haves, blocks, released uint32
		var want []uint32
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "do") {
			case 0:
				for range rapid.IntRange(1, 20).Draw(t, "haves") {
					w.SendIndex(Have, haves%20)
					haves++
				}
			case 1, 2:
				n := uint32(rapid.SampledFrom([]int{1, 50, 16 << 10, 32 << 10}).Draw(t, "length"))
				b := Block{blocks % 19, 0, n}
				if rapid.Bool().Draw(t, "file") {
					w.SendFile(b, f, 0, func() { released++ })
				} else {
					w.SendBlock(b, data[:n], func() { released++ })
				}
				want = append(want, blocks%19)
				blocks++
			case 3:
				step(t, w, &out)
			case 4:
				if rapid.IntRange(0, 9).Draw(t, "drop") == 0 {
					want = want[:len(want)-len(w.DropBlocks())]
				} else if ok, _ := w.gather(); ok {
					w.unplan() // no room
				}
			}
		}
		for step(t, w, &out) {
		}
		checkWritten(t, &out, data, haves, want)
		if c, d := w.Queued(); c+d != 0 || released != blocks || w.BytesWritten() == 0 && haves+uint32(len(want)) > 0 {
			t.Fatalf("queued %d and %d, released %d of %d", c, d, released, blocks)
		}
	})
}

// step writes some bytes of the next plan to out.
func step(t *rapid.T, w *Writer, out *bytes.Buffer) bool {
	if ok, err := w.gather(); err != nil || !ok {
		return false
	}
	w.scratch = bytes.Join(w.plan.vecs, nil)
	if w.plan.file != nil {
		if err := w.loadFile(); err != nil {
			t.Fatal(err)
		}
	}
	n := len(w.scratch)
	if rapid.Bool().Draw(t, "short") {
		n = rapid.IntRange(1, n).Draw(t, "taken")
	}
	out.Write(w.scratch[:n])
	w.wrote(n)
	return true
}

func checkWritten(t *rapid.T, out *bytes.Buffer, data []byte, haves uint32, want []uint32) {
	got, err := readAll(NewReader(out, ReaderConfig{Limits: limits()}))
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	var have uint32
	for _, m := range got {
		switch m.Type {
		case Have:
			if m.Index != have%20 {
				t.Fatalf("have %d, want %d", m.Index, have%20)
			}
			have++
		case Piece:
			if len(want) == 0 || m.Index != want[0] || !bytes.Equal(m.Data, data[:m.Length]) {
				t.Fatalf("block of piece %d, want %v", m.Index, want)
			}
			want = want[1:]
		default:
			t.Fatal(m.Type)
		}
	}
	if have != haves || len(want) != 0 {
		t.Fatalf("%d of %d haves, blocks %v missing", have, haves, want)
	}
}
