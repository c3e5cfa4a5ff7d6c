package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"distd/pkg/swarm/bitmap"
	"distd/pkg/swarm/wire"
)

// inFlight is how many blocks a member has asked for at once.
const inFlight = 16

// member is one peer of a crowd.
type member struct {
	crowd  *crowd
	number int
	moved  atomic.Int64 // bytes of blocks

	asked  chan wire.Block // by the other side
	slots  chan struct{}   // one for each block that is asked for
	wanted chan int        // pieces to ask for; as many places as pieces

	// Of the goroutine that reads.
	here    *bitmap.Bitmap // pieces that it has
	queued  *bitmap.Bitmap // pieces that were put into wanted
	arrived map[int]int64  // bytes of pieces that are not complete
}

func newMember(c *crowd, number int, part float64) *member {
	n := c.torrent.Layout.NumPieces()
	m := &member{crowd: c, number: number, asked: make(chan wire.Block, 4096), slots: make(chan struct{}, inFlight), wanted: make(chan int, n),
		here: bitmap.New(n), queued: bitmap.New(n), arrived: map[int]int64{}}
	for i := range n {
		if rand.Float64() < part {
			m.here.Set(i)
		}
	}
	return m
}

// takePart gives and takes until the connection ends.
func (m *member) takePart(ctx context.Context, s *wire.Session, stop context.CancelFunc) error {
	l := m.crowd.torrent.Layout
	w := wire.NewWriter(s.Conn, wire.WriterConfig{})
	r := wire.NewReader(s.Conn, wire.ReaderConfig{MaxBuffer: 16 << 10, Sink: func(wire.Block) []byte { return nil },
		Limits: wire.Limits{Pieces: l.NumPieces(), PieceLength: l.PieceLength, Total: l.Total, Fast: s.Fast, Extensions: s.Extensions}})
	w.SendBitfield(m.here)
	w.Send(wire.Interested)
	w.Send(wire.Unchoke)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { flush(ctx, w, stop) })
	wg.Go(func() { m.give(ctx, w) })
	wg.Go(func() { m.take(ctx, w) })
	for {
		var msg wire.Message
		if err := r.Next(&msg); err != nil {
			return err
		}
		m.read(&msg, w)
	}
}

func flush(ctx context.Context, w *wire.Writer, stop context.CancelFunc) {
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.Pending():
			if w.Flush() != nil {
				return
			}
		}
	}
}

// read takes in a message of the other side.
func (m *member) read(msg *wire.Message, w *wire.Writer) {
	switch msg.Type {
	case wire.Have:
		m.want(int(msg.Index))
	case wire.HaveAll:
		for i := range m.here.Len() {
			m.want(i)
		}
	case wire.Bitfield:
		if b, err := bitmap.FromBytes(msg.Data, m.here.Len()); err == nil {
			for i := range b.Ones() {
				m.want(i)
			}
		}
	case wire.Request:
		select {
		case m.asked <- msg.Block():
		default: // far more than any peer asks for at once
		}
	case wire.Reject:
		m.free()
	case wire.Piece:
		m.free()
		m.count(int64(msg.Length))
		i := int(msg.Index)
		m.arrived[i] += int64(msg.Length)
		if m.arrived[i] == m.crowd.torrent.Layout.PieceSize(i) {
			delete(m.arrived, i)
			m.here.Set(i)
			w.SendIndex(wire.Have, msg.Index)
		}
	}
}

// free lets another block be asked for.
func (m *member) free() {
	select {
	case <-m.slots:
	default: // it was not asked for
	}
}

func (m *member) count(n int64) {
	m.moved.Add(n)
	m.crowd.moved.Add(n)
}

func (m *member) want(i int) {
	if !m.here.Has(i) && m.queued.Set(i) {
		m.wanted <- i
	}
}

// give answers requests.
func (m *member) give(ctx context.Context, w *wire.Writer) {
	for {
		select {
		case <-ctx.Done():
			return
		case b := <-m.asked:
			if m.crowd.give.WaitN(ctx, int(b.Length)) != nil {
				return
			}
			w.SendBlock(b, m.crowd.zeros[:b.Length], func() { m.count(int64(b.Length)) })
		}
	}
}

// take asks for the pieces that are wanted, block by block.
func (m *member) take(ctx context.Context, w *wire.Writer) {
	for {
		select {
		case <-ctx.Done():
			return
		case i := <-m.wanted:
			size := m.crowd.torrent.Layout.PieceSize(i)
			for begin := int64(0); begin < size; begin += wire.DefaultBlock {
				n := min(wire.DefaultBlock, size-begin)
				select {
				case <-ctx.Done():
					return
				case m.slots <- struct{}{}:
				}
				if m.crowd.take.WaitN(ctx, int(n)) != nil {
					return
				}
				w.SendRequest(wire.Request, wire.Block{Index: uint32(i), Begin: uint32(begin), Length: uint32(n)})
			}
		}
	}
}
