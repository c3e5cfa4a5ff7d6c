package hostile

import (
	"context"
	"crypto/rand"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"distd/pkg/swarm/wire"
)

// PaperPeer is a peer that says of every torrent what it is told to say: what its
// info dictionary is (BEP 9), and what documents belong to it.
type PaperPeer struct {
	Listener net.Listener
	// InfoSize is what it says the info's length is, in bytes.
	InfoSize int
	// Info and Docs are the payloads of what it answers to a request for a part, one
	// after the other; nil is no such answer at all.
	Info, Docs func(part int) [][]byte

	sent, asked atomic.Int64
}

// Sent is how many bytes its victims have taken.
func (p *PaperPeer) Sent() int64 { return p.sent.Load() }

// Asked is how many requests for parts have come.
func (p *PaperPeer) Asked() int64 { return p.asked.Load() }

// Numbers that it gives the extensions.
const paperInfo, paperDocs = 1, 2

// Serve takes connections until the listener is closed and ctx is done.
func (p *PaperPeer) Serve(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		nc, err := p.Listener.Accept()
		if err != nil {
			return
		}
		wg.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
			defer stop()
			defer func() { _ = nc.Close() }()
			p.meet(ctx, nc)
		})
	}
}

func (p *PaperPeer) meet(ctx context.Context, nc net.Conn) {
	id := [20]byte{'-', 'X', 'X'}
	_, _ = rand.Read(id[3:]) // does not fail
	s, err := wire.Accept(ctx, nc, wire.Options{PeerID: id, Policy: wire.Allow, Known: func([20]byte) bool { return true }})
	if err != nil {
		return
	}
	hello := wire.ExtHandshake{M: map[string]uint8{}, MetadataSize: p.InfoSize, Distd: &wire.DistdInfo{Version: 1}}
	if p.Info != nil {
		hello.M[wire.ExtMetadata] = paperInfo
	}
	if p.Docs != nil {
		hello.M[wire.ExtDocs] = paperDocs
	}
	if !p.send(s.Conn, 0, hello.Encode()) {
		return
	}
	var its map[string]uint8 // numbers of the victim
	r := wire.NewReader(s.Conn, wire.ReaderConfig{Limits: wire.Limits{Pieces: math.MaxInt32, Fast: s.Fast, Extensions: true}, Timeout: time.Hour})
	var m wire.Message
	for r.Next(&m) == nil {
		if m.Type != wire.Extended {
			continue
		}
		if m.ExtID == 0 {
			if h, err := wire.DecodeExtHandshake(m.Data); err == nil {
				its = h.M
			}
			continue
		}
		q, err := wire.DecodeMetadata(m.Data)
		if err != nil || q.Kind != wire.MetadataRequest {
			continue
		}
		p.asked.Add(1)
		answer, id := p.Info, its[wire.ExtMetadata]
		if m.ExtID == paperDocs {
			answer, id = p.Docs, its[wire.ExtDocs]
		}
		for _, payload := range answer(q.Piece) {
			if !p.send(s.Conn, id, payload) {
				return
			}
		}
	}
}

func (p *PaperPeer) send(c net.Conn, id uint8, payload []byte) bool {
	n, err := c.Write(wire.AppendExtended(nil, id, payload))
	p.sent.Add(int64(n))
	return err == nil
}

// Parts answers as an honest peer does that has the blob.
func Parts(blob []byte) func(part int) [][]byte {
	return func(part int) [][]byte {
		begin := min(len(blob), part*wire.MetadataBlock)
		return [][]byte{Part(part, len(blob), blob[begin:min(len(blob), begin+wire.MetadataBlock)])}
	}
}

// Part is one answer: data as a part of a blob of size bytes.
func Part(part, size int, data []byte) []byte {
	m := wire.MetadataMsg{Kind: wire.MetadataData, Piece: part, TotalSize: size, Data: data}
	return m.Encode()
}
