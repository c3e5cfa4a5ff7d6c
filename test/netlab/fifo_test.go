package netlab

import (
	"encoding/binary"
	"testing"
	"time"
)

// TestFIFO: pieces leave in the order in which they came, with their own bytes, and
// memory is used again.
func TestFIFO(t *testing.T) {
	var f fifo
	in, out := 0, 0
	push := func() {
		size := 40 + in%3*30000
		f.push(time.Duration(in), size, func(b []byte) []byte {
			b = append(b, make([]byte, size)...)
			binary.BigEndian.PutUint64(b, uint64(in))
			return b
		})
		in++
	}
	pop := func() {
		t.Helper()
		due, ok := f.next()
		if b := f.front(); !ok || due != time.Duration(out) || binary.BigEndian.Uint64(b) != uint64(out) || len(b) != 40+out%3*30000 {
			t.Fatalf("piece %d is due at %d with %d bytes", out, due, len(b))
		}
		f.pop()
		out++
	}
	for range 50 {
		push()
	}
	for range 20000 {
		push()
		pop()
	}
	if n := len(f.small) + len(f.large); n > 52 || len(f.parcels) > 5000 {
		t.Errorf("with 50 pieces on their way %d buffers lie ready and the list has %d places", n, len(f.parcels))
	}
	for in > out {
		pop()
	}
	if _, ok := f.next(); ok {
		t.Error("there is a piece more")
	}
}
