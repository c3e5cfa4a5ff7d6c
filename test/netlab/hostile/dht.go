package hostile

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/anacrolix/torrent/bencode"
)

// DHTNode is a node of the DHT that says what it is told to say: it answers every
// query with the same nodes, peers and item, true or not.
type DHTNode struct {
	Conn net.PacketConn
	// Nodes and Peers are named in every answer, as many as fit, each time others.
	// The nodes are said to be as near to what is asked for as can be.
	Nodes, Peers []netip.AddrPort
	// Item has the fields of an item (k, seq, sig, v) that is given to who asks.
	Item map[string]any
	// Items are given in turn, in place of Item.
	Items []map[string]any
	// Noise are packets of which one goes before each answer, in turn.
	Noise [][]byte

	mu      sync.Mutex
	id      [20]byte
	asked   int
	named   int // of Peers
	waiting map[string]chan map[string]any
}

// What is named in one answer, so that it fits into a packet.
const (
	nodesNamed = 8
	peersNamed = 100
)

// Serve answers until the socket is closed.
func (n *DHTNode) Serve() {
	n.init()
	buf := make([]byte, 4096)
	for {
		size, from, err := n.Conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		var m map[string]any
		if err != nil || bencode.Unmarshal(buf[:size], &m) != nil {
			continue
		}
		if m["y"] == "q" {
			n.answer(m, from)
			continue
		}
		n.mu.Lock()
		t, _ := m["t"].(string)
		if c := n.waiting[t]; c != nil {
			delete(n.waiting, t)
			c <- m
		}
		n.mu.Unlock()
	}
}

// init is for Serve and Ask, whichever comes first.
func (n *DHTNode) init() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.waiting == nil {
		_, _ = rand.Read(n.id[:]) // does not fail
		n.waiting = map[string]chan map[string]any{}
	}
}

// Asked is how many queries have come.
func (n *DHTNode) Asked() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}

func (n *DHTNode) answer(m map[string]any, to net.Addr) {
	n.mu.Lock()
	n.asked++
	r := map[string]any{"id": string(n.id[:]), "token": "token"}
	args, _ := m["a"].(map[string]any)
	target := [20]byte{}
	for _, name := range []string{"target", "info_hash"} {
		if s, ok := args[name].(string); ok {
			copy(target[:], s)
		}
	}
	var nodes []byte
	for i, a := range n.Nodes[:min(len(n.Nodes), nodesNamed)] {
		id := target
		id[19] ^= byte(i)
		nodes = append(append(nodes, id[:]...), compact(a)...)
	}
	r["nodes"] = string(nodes)
	if m["q"] == "get_peers" && len(n.Peers) > 0 {
		values := []string{}
		for range min(peersNamed, len(n.Peers)) {
			values = append(values, string(compact(n.Peers[n.named%len(n.Peers)])))
			n.named++
		}
		r["values"] = values
	}
	if m["q"] == "get" {
		item := n.Item
		if len(n.Items) > 0 {
			item = n.Items[n.asked%len(n.Items)]
		}
		for name, v := range item {
			r[name] = v
		}
	}
	var noise []byte
	if len(n.Noise) > 0 {
		noise = n.Noise[n.asked%len(n.Noise)]
	}
	n.mu.Unlock()
	if noise != nil {
		_, _ = n.Conn.WriteTo(noise, to)
	}
	if b, err := bencode.Marshal(map[string]any{"t": m["t"], "y": "r", "r": r}); err == nil {
		_, _ = n.Conn.WriteTo(b, to)
	}
}

func compact(a netip.AddrPort) []byte {
	return append(a.Addr().AsSlice(), byte(a.Port()>>8), byte(a.Port()))
}

// Ask sends a query, and returns the answer: with the key r what was asked for,
// with e the error.
func (n *DHTNode) Ask(ctx context.Context, to netip.AddrPort, query string, args map[string]any) (map[string]any, error) {
	n.init()
	var t [8]byte
	_, _ = rand.Read(t[:]) // does not fail
	c := make(chan map[string]any, 1)
	n.mu.Lock()
	n.waiting[string(t[:])] = c
	a := map[string]any{"id": string(n.id[:])}
	n.mu.Unlock()
	for name, v := range args {
		a[name] = v
	}
	b, err := bencode.Marshal(map[string]any{"t": string(t[:]), "y": "q", "q": query, "a": a})
	if err != nil {
		return nil, err
	}
	for {
		if _, err := n.Conn.WriteTo(b, net.UDPAddrFromAddrPort(to)); err != nil {
			return nil, err
		}
		select {
		case m := <-c:
			return m, nil
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, fmt.Errorf("%s of %v: %w", query, to, ctx.Err())
		}
	}
}
