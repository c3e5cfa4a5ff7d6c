package wire_test

import (
	"context"
	"fmt"
	"net"

	"distd/pkg/swarm/wire"
)

func Example() {
	a, b := net.Pipe()
	defer func() { _, _ = a.Close(), b.Close() }()
	infoHash := [20]byte{1, 2, 3}

	// The side that was called announces a piece and sends a block of it.
	go func() {
		s, err := wire.Accept(context.Background(), b, wire.Options{
			PeerID: [20]byte{'b'}, Policy: wire.Allow,
			Known:      func(ih [20]byte) bool { return ih == infoHash },
			InfoHashes: func(yield func([20]byte) bool) { yield(infoHash) },
		})
		if err != nil {
			panic(err)
		}
		w := wire.NewWriter(s.Conn, wire.WriterConfig{})
		w.SendBlock(wire.Block{Index: 4, Begin: 0, Length: 5}, []byte("hello"), nil)
		w.SendIndex(wire.Have, 4) // overtakes the block
		if err := w.Flush(); err != nil {
			panic(err)
		}
	}()

	s, err := wire.Initiate(context.Background(), a, wire.Options{
		PeerID: [20]byte{'a'}, InfoHash: infoHash, Policy: wire.Require,
	})
	if err != nil {
		panic(err)
	}
	fmt.Println("encrypted:", s.Encrypted)
	r := wire.NewReader(s.Conn, wire.ReaderConfig{Limits: wire.Limits{Pieces: 5, PieceLength: 16384, Total: 5 * 16384}})
	var m wire.Message
	for range 2 {
		if err := r.Next(&m); err != nil {
			panic(err)
		}
		fmt.Printf("%s %d %q\n", m.Type, m.Index, m.Data)
	}
	// Output:
	// encrypted: true
	// have 4 ""
	// piece 4 "hello"
}
