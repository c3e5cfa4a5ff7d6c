package dht

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var epoch = time.Unix(1_700_000_000, 0)

func anyAddr(netip.Addr) bool { return true }

func TestPeersExpire(t *testing.T) {
	p := newPeers(30 * time.Minute)
	a, b := loop(1), loop(2)
	p.add(hash1, a, epoch)
	p.add(hash1, b, epoch.Add(20*time.Minute))
	if got := p.get(hash1, epoch.Add(29*time.Minute), 1000, anyAddr); len(got) != 2 {
		t.Errorf("%v", got)
	}
	if got := p.get(hash1, epoch.Add(30*time.Minute), 1000, anyAddr); !slices.Equal(got, []netip.AddrPort{b}) {
		t.Errorf("%v", got)
	}
	if fresh, _ := p.add(hash1, a, epoch.Add(31*time.Minute)); !fresh {
		t.Error("one that comes back is not new")
	}
	p.sweep(epoch.Add(2 * time.Hour))
	if torrents, all := p.size(); torrents != 0 || all != 0 || len(p.by) != 0 {
		t.Errorf("%d torrents, %d peers, %v", torrents, all, p.by)
	}
}

// More peers than fit are a random part of them.
func TestPeersAreMixed(t *testing.T) {
	p := newPeers(time.Hour)
	for i := range 300 {
		p.add(hash1, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1), epoch)
	}
	seen := make(map[netip.AddrPort]bool)
	for range 200 {
		got := p.get(hash1, epoch, replyValues, anyAddr)
		if len(got) == 0 || len(got)*8 > replyValues {
			t.Fatalf("%d peers", len(got))
		}
		for _, a := range got {
			seen[a] = true
		}
	}
	if len(seen) != 300 {
		t.Errorf("%d of 300 were ever named", len(seen))
	}
}

func TestPeersBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPeers(10 * time.Second)
		p.max = peerBounds{torrents: 3, inTorrent: 6, inAll: 12, ofAddr: 5, ports: 2}
		now := epoch
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "pause")) * time.Second)
			ih := [20]byte{byte(rapid.IntRange(0, 5).Draw(t, "torrent"))}
			a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(0, 4).Draw(t, "addr"))}), uint16(rapid.IntRange(1, 4).Draw(t, "port")))
			_, ok := p.add(ih, a, now)
			if ok && !slices.Contains(p.get(ih, now, 1000, anyAddr), a) {
				t.Fatal("what was taken is not there")
			}
			sum, by := 0, make(map[netip.Addr]int)
			for ih, tor := range p.m {
				ports := make(map[netip.Addr]int)
				for i, e := range tor.list {
					if tor.at[e.addr] != i {
						t.Fatal("the index is wrong")
					}
					by[e.addr.Addr()]++
					if ports[e.addr.Addr()]++; ports[e.addr.Addr()] > 2 {
						t.Fatal("too many ports")
					}
				}
				if len(tor.list) == 0 || len(tor.list) > 6 || len(tor.at) != len(tor.list) {
					t.Fatalf("%d peers in %x", len(tor.list), ih)
				}
				sum += len(tor.list)
			}
			if len(p.m) > 3 || sum > 12 || sum != p.count || fmt.Sprint(by) != fmt.Sprint(p.by) {
				t.Fatalf("%d torrents, %d peers, count %d, %v and %v", len(p.m), sum, p.count, by, p.by)
			}
			for _, n := range by {
				if n > 5 {
					t.Fatal("too many of an address")
				}
			}
		}
	})
}

func TestItemsExpire(t *testing.T) {
	s := newItems(2 * time.Hour)
	it := signed(key(1), "", 1, "i1e")
	put := func(now time.Time) {
		if _, err := s.put(it.Target(), it, true, loop(1), nil, now); err != nil {
			t.Fatal(err)
		}
	}
	put(epoch)
	put(epoch.Add(time.Hour))
	if s.get(it.Target(), epoch.Add(3*time.Hour-1)) == nil {
		t.Error("gone though it was put again")
	}
	if s.get(it.Target(), epoch.Add(3*time.Hour)) != nil {
		t.Error("there after two hours")
	}
	s.pin(it.Target(), epoch.Add(time.Hour))
	if s.get(it.Target(), epoch.Add(30*time.Hour)) == nil {
		t.Error("gone though it is held")
	}
	s.unpin(it.Target(), epoch.Add(30*time.Hour))
	s.sweep(epoch.Add(33 * time.Hour))
	if s.size() != 0 || len(s.by) != 0 {
		t.Errorf("%d items, %v", s.size(), s.by)
	}
}

// Junk neither fills the store for ever, nor pushes out what is held here.
func TestItemsBounds(t *testing.T) {
	s := newItems(2 * time.Hour)
	s.max, s.per = 8, 4
	mine := signed(key(1), "", 1, "i1e")
	s.pin(mine.Target(), epoch)
	put := func(i int, from byte) error {
		v := []byte(fmt.Sprintf("i%de", i))
		_, err := s.put(immutableTarget(v), Item{Value: v}, false, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, from}), 1), nil, epoch.Add(time.Duration(i)*time.Second))
		return err
	}
	if _, err := s.put(mine.Target(), mine, true, netip.AddrPort{}, nil, epoch); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		err := put(i, 1)
		if i >= 4 != errors.Is(err, errFull) {
			t.Fatalf("%d: %v", i, err)
		}
	}
	for i := range 100 {
		if err := put(1000+i, byte(2+i)); err != nil {
			t.Fatal(err)
		}
	}
	if s.size() != 8 || s.get(mine.Target(), epoch.Add(time.Hour)) == nil {
		t.Errorf("%d items; mine %v", s.size(), s.get(mine.Target(), epoch))
	}
}

func TestTokens(t *testing.T) {
	k := newTokens()
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	token := k.issue(a, epoch)
	if !k.valid(token, a, epoch.Add(10*time.Minute)) {
		t.Error("not good after 10 minutes")
	}
	if k.valid(token, a, epoch.Add(15*time.Minute)) || k.valid(token, b, epoch) || k.valid(nil, a, epoch) || newTokens().valid(token, a, epoch) {
		t.Error("good when it should not be")
	}
}

func TestLimits(t *testing.T) {
	l := newLimits(pace{rate: 10, burst: 5}, pace{rate: 100, burst: 12})
	l.max = 4
	addr := func(i byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, i}) }
	count := func(i byte, now time.Time) (n int) {
		for range 20 {
			if l.take(addr(i), now) {
				n++
			}
		}
		return n
	}
	if a, b, c := count(1, epoch), count(2, epoch), count(3, epoch); a != 5 || b != 5 || c != 2 {
		t.Errorf("%d, %d, %d", a, b, c)
	}
	if n := count(1, epoch.Add(200*time.Millisecond)); n != 2 {
		t.Errorf("%d after 200 ms", n)
	}
	later := epoch.Add(time.Minute)
	for i := range byte(100) {
		l.take(addr(i), later)
	}
	if len(l.each) > 4 {
		t.Errorf("%d addresses are told apart", len(l.each))
	}
}

func TestNearest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newBook([20]byte{255})
		var all []node
		for i := range rapid.IntRange(0, 40).Draw(t, "nodes") {
			n := node{[20]byte{byte(rapid.IntRange(0, 250).Draw(t, "id")), byte(i)}, loop(uint16(i + 1))}
			b.answered(n, epoch)
			all = append(all, n)
		}
		target := [20]byte{byte(rapid.IntRange(0, 255).Draw(t, "target"))}
		slices.SortFunc(all, func(x, y node) int {
			if nearer(target, x.id, y.id) {
				return -1
			}
			return 1
		})
		k := rapid.IntRange(1, 12).Draw(t, "k")
		if got, want := b.nearest(target, k, epoch, anyNode), all[:min(k, len(all))]; !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
		some := b.some(target, 4, 6, epoch)
		if len(some) != min(10, len(all)) || !slices.Equal(some[:min(4, len(some))], all[:min(4, len(all))]) {
			t.Fatalf("%v of %v", some, all)
		}
	})
}

func TestBookForgets(t *testing.T) {
	b := newBook([20]byte{255})
	n := node{[20]byte{1}, loop(1)}
	if b.asked(n, epoch) || b.count(epoch) != 0 {
		t.Error("one that has only asked is good")
	}
	b.answered(n, epoch)
	if !b.asked(n, epoch.Add(14*time.Minute)) || b.count(epoch.Add(28*time.Minute)) != 1 || b.count(epoch.Add(29*time.Minute)) != 0 {
		t.Error("not good for 15 minutes after it was heard")
	}
	for range maxFailures {
		b.silent(n.addr)
	}
	if b.count(epoch) != 0 {
		t.Error("good though it does not answer")
	}
	for range lastFailures {
		b.silent(n.addr)
	}
	if known, _ := b.size(); known != 0 || len(b.by) != 0 {
		t.Error("not forgotten")
	}
	for i := range uint16(1000) {
		b.answered(node{[20]byte{1}, loop(i + 1)}, epoch)
	}
	if known, _ := b.size(); known != maxAtAddr {
		t.Errorf("%d nodes at one address", known)
	}
}

func TestNodesFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nodes")
	c := listen(t, "127.0.0.1:0")
	defer func() { _ = c.Close() }()
	make1 := func() *Node {
		n, err := New(Config{Conn: c, NodesFile: path, Allow: loopback})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	id := [20]byte{1, 2}
	f := nodesFile{id: id, host: hostname(), nodes: []node{
		{[20]byte{3}, loop(1)}, {[20]byte{4}, netip.MustParseAddrPort("10.0.0.1:1")},
	}}
	write := func(b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(f.format())
	if n := make1(); n.id != id || len(n.old) != 1 || n.old[0].addr != loop(1) {
		t.Errorf("ID %x, nodes %v", n.id, n.old)
	}
	f.host = "another"
	write(f.format())
	n := make1()
	if n.id == id || len(n.old) != 1 {
		t.Errorf("a copy of the disk has the same ID, or no nodes: %v", n.old)
	}
	n.book.answered(node{[20]byte{9}, loop(9)}, time.Now())
	n.remember()
	if again := make1(); again.id != n.id || len(again.old) != 2 || again.old[0].addr != loop(9) {
		t.Errorf("ID %x, nodes %v", again.id, again.old)
	}
	for _, bad := range [][]byte{nil, []byte("x"), make([]byte, maxNodesBytes+1), f.format()[:90]} {
		write(bad)
		if n := make1(); len(n.old) != 0 || n.id == ([20]byte{}) {
			t.Errorf("%.20q is taken", bad)
		}
	}
}
