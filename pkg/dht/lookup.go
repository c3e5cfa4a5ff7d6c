package dht

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	lib "github.com/anacrolix/dht/v2"
	knearest "github.com/anacrolix/dht/v2/k-nearest-nodes"
	"github.com/anacrolix/dht/v2/krpc"
	"github.com/anacrolix/dht/v2/traversal"
	"github.com/anacrolix/dht/v2/types"
	"go.uber.org/zap"
)

// Bounds of a lookup.
const (
	lookupWidth  = 8   // nodes nearest to the target that it looks for
	lookupAlpha  = 16  // queries at once
	lookupAsks   = 256 // queries in all
	lookupAtAddr = 32  // queries to one address
	lookupStart  = 24  // nodes that it begins with
)

var errNoNodes = errors.New("no node of the DHT is known")

// ask sends a query, up to three times, and returns the reply. The book learns of it.
func (n *Node) ask(ctx context.Context, to netip.AddrPort, name string, args krpc.MsgArgs) (*krpc.Return, error) {
	if !n.zone.node(to) {
		return nil, fmt.Errorf("%v is outside of the zone", to)
	}
	res := n.server.Query(ctx, lib.NewAddr(net.UDPAddrFromAddrPort(to)), name,
		lib.QueryInput{MsgArgs: args, NumTries: n.cfg.times.tries})
	if res.Err != nil {
		if ctx.Err() == nil {
			n.book.silent(to)
		}
		return nil, res.Err
	}
	if e := res.Reply.Error(); e != nil {
		return nil, *e
	}
	r := res.Reply.R
	if r == nil {
		return nil, errors.New("reply without content")
	}
	if r.ID == n.id {
		n.twin(to)
	}
	if n.book.answered(node{r.ID, to}, n.now()) {
		n.welcome(to)
	}
	n.hearsay(r.Nodes)
	n.hearsay(r.Nodes6)
	return r, nil
}

// twin warns of another node with this node's ID, as copies of a disk have it.
func (n *Node) twin(at netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.warned || ownAddrs()[at.Addr()] {
		return
	}
	n.warned = true
	n.log.Warn("another DHT node has the ID of this one: remove the nodes file of one of them and restart it",
		zap.Stringer("node", at), zap.String("file", n.cfg.NodesFile))
}

// near is a node that has answered, with the token that it gave.
type near struct {
	addr  netip.AddrPort
	token string
}

// lookup asks the nodes nearest to a target, and calls each with the replies, one
// after the other. It returns the nearest that gave tokens, the nearest first.
func (n *Node) lookup(ctx context.Context, target [20]byte, name string, args krpc.MsgArgs, each func(netip.AddrPort, *krpc.Return)) ([]near, error) {
	start := n.book.nearest(target, lookupStart, n.now(), anyNode)
	if len(start) == 0 {
		return nil, errNoNodes
	}
	args.Want = []krpc.Want{krpc.WantNodes, krpc.WantNodes6}
	w := walk{node: n, ctx: ctx, name: name, args: args, each: each, asked: make(map[netip.AddrPort]bool), at: make(map[netip.Addr]int)}
	op := traversal.Start(traversal.OperationInput{
		Target: target, Alpha: lookupAlpha, K: lookupWidth, DoQuery: w.query,
		NodeFilter: func(a types.AddrMaybeId) bool { return n.zone.node(a.Addr.AddrPort) },
	})
	for _, s := range start {
		info := krpc.NodeInfo{ID: s.id}
		info.Addr.FromAddrPort(s.addr)
		var a types.AddrMaybeId
		a.FromNodeInfo(info)
		_ = op.AddNode(a) // fails for what lies outside of the zone
	}
	select {
	case <-op.Stalled():
	case <-ctx.Done():
	}
	op.Stop()
	<-op.Stopped()
	var out []near
	op.Closest().Range(func(e knearest.Elem) {
		if token, _ := e.Data.(string); token != "" {
			out = append(out, near{e.Addr.AddrPort, token})
		}
	})
	return out, ctx.Err()
}

// walk is one lookup under way.
type walk struct {
	node *Node
	ctx  context.Context // of the caller
	name string
	args krpc.MsgArgs

	mu    sync.Mutex
	each  func(netip.AddrPort, *krpc.Return)
	asked map[netip.AddrPort]bool
	at    map[netip.Addr]int
}

// may says whether an address is still to be asked: once, however many nodes are
// said to be there.
func (w *walk) may(a netip.AddrPort) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked[a] || len(w.asked) >= lookupAsks || w.at[a.Addr()] >= lookupAtAddr {
		return false
	}
	w.asked[a] = true
	w.at[a.Addr()]++
	return true
}

func (w *walk) query(ctx context.Context, to krpc.NodeAddr) (out traversal.QueryResult) {
	addr := to.ToNodeAddrPort().AddrPort
	if w.ctx.Err() != nil || !w.may(addr) {
		return out
	}
	r, err := w.node.ask(ctx, addr, w.name, w.args)
	if err != nil || r.ID == w.node.id {
		return out
	}
	if w.each != nil {
		w.mu.Lock()
		w.each(addr, r)
		w.mu.Unlock()
	}
	out.ResponseFrom = &krpc.NodeInfo{ID: r.ID, Addr: to}
	out.Nodes, out.Nodes6 = r.Nodes, r.Nodes6
	if r.Token != nil {
		out.ClosestData = *r.Token
	}
	return out
}

// ownAddrs returns the addresses of this machine.
func ownAddrs() map[netip.Addr]bool {
	own := make(map[netip.Addr]bool)
	list, err := net.InterfaceAddrs()
	if err != nil {
		return own // then what is found here counts as another's
	}
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			own[p.Addr().Unmap().WithZone("")] = true
		}
	}
	return own
}
