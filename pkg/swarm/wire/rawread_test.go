package wire

import (
	"bytes"
	"math/rand/v2"
	"net"
	"testing"
)

// A block that comes in drops, with other messages before and after it in any
// portions, is read whole and to its place, and what follows it is not held
// back by what the socket was told to wait for.
func TestReaderOnASocket(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	peer, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = peer.Close() }()
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()

	const length = 8 * DefaultBlock
	data := make([]byte, length)
	_, _ = rand.NewChaCha8([32]byte{5}).Read(data)
	place := make([]byte, length)
	r := NewReader(nc, ReaderConfig{
		Limits: Limits{Pieces: 100, PieceLength: length, Total: 100 * length, MaxBlock: length},
		Sink:   func(Block) []byte { return place },
	})
	if r.in.raw == nil {
		t.Skip("sockets are read through a buffer here")
	}
	// More is sent only when the last message has been taken, so that a HAVE that
	// waited for bytes to come would wait for ever.
	taken := make(chan struct{})
	defer close(taken)
	go func() {
		rng := rand.New(rand.NewPCG(1, 2))
		for i := range 40 {
			var b bytes.Buffer
			w := NewWriter(&b, WriterConfig{})
			w.SendBlock(Block{Index: uint32(i), Length: length}, data, nil)
			_ = w.Flush()
			w.SendIndex(Have, uint32(i))
			_ = w.Flush()
			for left := b.Bytes(); len(left) > 0; {
				n := min(len(left), 1+rng.IntN(3*DefaultBlock))
				if _, err := peer.Write(left[:n]); err != nil {
					return
				}
				left = left[n:]
			}
			if _, more := <-taken; !more {
				return
			}
		}
	}()
	var m Message
	for i := range uint32(40) {
		if err := r.Next(&m); err != nil || m.Type != Piece || m.Index != i || !bytes.Equal(m.Data, data) || &m.Data[0] != &place[0] {
			t.Fatalf("message %d: %v, type %v, piece %d", i, err, m.Type, m.Index)
		}
		clear(place)
		if err := r.Next(&m); err != nil || m.Type != Have || m.Index != i {
			t.Fatalf("after block %d: %v, type %v, piece %d", i, err, m.Type, m.Index)
		}
		taken <- struct{}{}
	}
}
