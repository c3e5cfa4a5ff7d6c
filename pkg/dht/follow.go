package dht

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/anacrolix/dht/v2/krpc"
	"github.com/anacrolix/torrent/bencode"
)

// hold is an item that this node follows or publishes.
type hold struct {
	key       [32]byte
	salt      []byte
	uses      int
	followers map[*follower]struct{}
}

type follower struct {
	heard func(Item, netip.AddrPort)
	mu    sync.Mutex
	any   bool
	last  int64
	box   mailbox[delivery]
}

type delivery struct {
	item Item
	from netip.AddrPort
}

// maxDeliveries are items that wait for a follower that is slow. Older ones are left out.
const maxDeliveries = 64

func (f *follower) tell(n *Node, st *stored) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.any && st.item.Seq <= f.last {
		return
	}
	f.any, f.last = true, st.item.Seq
	f.box.put(n.spawn, func(ds []delivery) {
		for _, d := range ds {
			f.heard(d.item.clone(), d.from)
		}
	}, delivery{st.item, st.from})
}

// Follow asks for the item at once and then each time that every has passed, more
// or less, and soon again while there is none at all. heard is called with each
// valid item that is newer than all before, whatever way it came; from is the node
// that it came from, and zero if it was published here. heard is called from one
// goroutine at a time, and is to return soon; when it does not, only the newest
// items wait for it.
func (n *Node) Follow(key [32]byte, salt []byte, every time.Duration, heard func(it Item, from netip.AddrPort)) (stop func()) {
	f := &follower{heard: heard}
	f.box.max = maxDeliveries
	target, release := n.hold(key, salt, f)
	if st := n.items.get(target, n.now()); st != nil {
		f.tell(n, st)
	}
	retry := n.cfg.times.retry
	remove := n.wishes.add(func(ctx context.Context) time.Duration {
		if n.tend(ctx, key, salt, false); n.items.get(target, n.now()) == nil {
			return jitter(min(retry.wait(), every))
		}
		retry.reset()
		return jitter(every)
	})
	return sync.OnceFunc(func() {
		remove()
		f.box.close()
		release()
	})
}

// Publish stores the item, hands it to the zone at once, and again before it
// expires there, until a newer one is known or stop is called. The item is as
// Check wants it; ErrOld says that a newer one, or another of this number, is known.
func (n *Node) Publish(it Item) (stop func(), err error) {
	it = it.clone()
	if err := it.Check(); err != nil {
		return nil, fmt.Errorf("dht: publish %s: %w", &it, err)
	}
	target, release := n.hold(it.Key, it.Salt, nil)
	if err := n.accept(it, netip.AddrPort{}, nil); err != nil {
		release()
		return nil, fmt.Errorf("dht: publish %s: %w", &it, err)
	}
	retry := n.cfg.times.retry
	remove := n.wishes.add(func(ctx context.Context) time.Duration {
		if st := n.items.get(target, n.now()); st != nil && st.item.Seq > it.Seq {
			return -1
		}
		if n.tend(ctx, it.Key, it.Salt, true) == 0 {
			return jitter(retry.wait())
		}
		retry.reset()
		return jitter(n.cfg.times.republish)
	})
	return sync.OnceFunc(func() {
		remove()
		release()
	}), nil
}

// hold begins to hold an item, for a follower if it is not nil.
func (n *Node) hold(key [32]byte, salt []byte, f *follower) (target [20]byte, release func()) {
	target = Target(key, salt)
	n.items.pin(target, n.now())
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.holds[target]
	if h == nil {
		h = &hold{key: key, salt: slices.Clone(salt), followers: make(map[*follower]struct{})}
		n.holds[target] = h
	}
	h.uses++
	if f != nil {
		h.followers[f] = struct{}{}
	}
	return target, func() {
		n.items.unpin(target, n.now())
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(h.followers, f)
		if h.uses--; h.uses == 0 {
			delete(n.holds, target)
		}
	}
}

// store takes the item of a put.
func (n *Node) store(q query) error {
	if q.key == nil {
		if len(q.value) > maxValue {
			return ErrTooLarge
		}
		_, err := n.items.put(immutableTarget(q.value), Item{Value: q.value}, false, q.from, nil, n.now())
		return err
	}
	it := Item{Key: *q.key, Salt: q.salt, Seq: *q.seq, Value: q.value, Sig: q.sig}
	if err := it.Check(); err != nil {
		return err
	}
	return n.accept(it, q.from, q.cas)
}

// accept stores a checked item, from wherever it came. If it is newer and this node
// holds the item, its followers hear of it, and other nodes are given it.
func (n *Node) accept(it Item, from netip.AddrPort, cas *int64) error {
	target := it.Target()
	newer, err := n.items.put(target, it, true, from, cas, n.now())
	if err != nil || !newer {
		return err
	}
	n.mu.Lock()
	h := n.holds[target]
	var followers []*follower
	if h != nil {
		followers = slices.Collect(maps.Keys(h.followers))
	}
	n.mu.Unlock()
	if h == nil {
		return nil
	}
	for _, f := range followers {
		f.tell(n, &stored{item: it, from: from})
	}
	n.spawn(func(ctx context.Context) { n.flood(ctx, target, from) })
	return nil
}

// How many nodes an item goes to at once: the nearest to its target and others at
// random. Each follower hands it on to as many, once.
const (
	floodNear, floodOthers     = 8, 8
	publishNear, publishOthers = 8, 24
)

// flood hands a newer item to other nodes.
func (n *Node) flood(ctx context.Context, target [20]byte, from netip.AddrPort) {
	near, others := floodNear, floodOthers
	if !from.IsValid() {
		near, others = publishNear, publishOthers
	}
	var wg sync.WaitGroup
	for _, to := range n.book.some(target, near, others, n.now()) {
		if to.addr != from {
			wg.Go(func() { n.offer(ctx, target, to.addr) })
		}
	}
	wg.Wait()
}

// offer gives a node the item that is here, unless it has it or a newer one, which
// this node takes then.
func (n *Node) offer(ctx context.Context, target [20]byte, to netip.AddrPort) {
	st := n.items.get(target, n.now())
	if st == nil || !st.mutable {
		return
	}
	r, err := n.ask(ctx, to, "get", krpc.MsgArgs{Target: target, Seq: &st.item.Seq})
	if err != nil {
		return
	}
	n.hear(st.item.Key, st.item.Salt, to, r)
	if r.Token != nil {
		n.give(ctx, target, to, *r.Token, r.Seq)
	}
}

// give puts the item that is here to a node that has an older one (nil: none).
func (n *Node) give(ctx context.Context, target [20]byte, to netip.AddrPort, token string, its *int64) bool {
	st := n.items.get(target, n.now())
	if st == nil || !st.mutable || its != nil && *its >= st.item.Seq {
		return false
	}
	it := &st.item
	_, err := n.ask(ctx, to, "put", krpc.MsgArgs{
		Token: token, K: it.Key, Salt: it.Salt, Seq: &it.Seq, Sig: it.Sig, V: bencode.Bytes(it.Value),
	})
	if err != nil {
		return false
	}
	n.puts.Add(1)
	return true
}

// hear takes an item from a reply to a get, if it is valid and newer.
func (n *Node) hear(key [32]byte, salt []byte, from netip.AddrPort, r *krpc.Return) {
	st := n.items.get(Target(key, salt), n.now())
	if st != nil && r.Seq != nil && *r.Seq <= st.item.Seq {
		return
	}
	it, ok := n.itemOf(key, salt, from, r)
	if !ok {
		return
	}
	if err := n.accept(it, from, nil); err != nil {
		n.refused.add(reasonOf(err), from)
	}
}

// itemOf returns the item in a reply to a get, if there is one and it is valid.
func (n *Node) itemOf(key [32]byte, salt []byte, from netip.AddrPort, r *krpc.Return) (it Item, ok bool) {
	if r.Seq == nil || len(r.V) == 0 {
		return it, false
	}
	if r.K != key {
		n.refused.add(BadSignature, from)
		return it, false
	}
	it = Item{Key: key, Salt: salt, Seq: *r.Seq, Value: r.V, Sig: r.Sig}
	if err := it.Check(); err != nil {
		n.refused.add(reasonOf(err), from)
		return it, false
	}
	return it, true
}

// tend asks the nodes nearest to the target for a newer item, and gives the newest
// to those that have an older one; refresh: to all, so that it does not expire
// there. It returns how many nodes have it now.
func (n *Node) tend(ctx context.Context, key [32]byte, salt []byte, refresh bool) (have int) {
	target := Target(key, salt)
	args := krpc.MsgArgs{Target: target}
	if st := n.items.get(target, n.now()); st != nil {
		args.Seq = &st.item.Seq
	}
	seqs := make(map[netip.AddrPort]*int64)
	nodes, err := n.lookup(ctx, target, "get", args, func(from netip.AddrPort, r *krpc.Return) {
		seqs[from] = r.Seq
		n.hear(key, salt, from, r)
	})
	st := n.items.get(target, n.now())
	if err != nil || st == nil {
		return 0
	}
	var wg sync.WaitGroup
	given := make(chan bool, len(nodes))
	for _, to := range nodes {
		its := seqs[to.addr]
		if its != nil && *its >= st.item.Seq {
			have++
			if !refresh || *its > st.item.Seq {
				continue
			}
			its = nil
		}
		wg.Go(func() { given <- n.give(ctx, target, to.addr, to.token, its) })
	}
	wg.Wait()
	close(given)
	for ok := range given {
		if ok {
			have++
		}
	}
	return have
}

// Get asks the zone for the newest item of a key and salt. If there is none the
// error is ErrNotFound.
func (n *Node) Get(ctx context.Context, key [32]byte, salt []byte) (Item, error) {
	ctx, leave, err := n.enter(ctx)
	if err != nil {
		return Item{}, err
	}
	defer leave()
	target := Target(key, salt)
	var best *Item
	if st := n.items.get(target, n.now()); st != nil {
		best = &st.item
	}
	_, err = n.lookup(ctx, target, "get", krpc.MsgArgs{Target: target}, func(from netip.AddrPort, r *krpc.Return) {
		if it, ok := n.itemOf(key, salt, from, r); ok && (best == nil || it.Seq > best.Seq) {
			best = &it
		}
	})
	switch {
	case best != nil && ctx.Err() == nil:
		return best.clone(), nil
	case err != nil:
		return Item{}, fmt.Errorf("dht: get %x: %w", target, err)
	}
	return Item{}, fmt.Errorf("dht: get %x: %w", target, ErrNotFound)
}

// greet gives a node that is new the items that this node holds, while the zone is small.
func (n *Node) greet(ctx context.Context, to netip.AddrPort) {
	n.mu.Lock()
	targets := slices.Collect(maps.Keys(n.holds))
	n.mu.Unlock()
	for _, t := range targets {
		n.offer(ctx, t, to)
	}
}
