package dht

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The test vectors of BEP 44.
func TestItemVectors(t *testing.T) {
	public := [32]byte(unhex(t, "77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548"))
	for _, v := range []struct{ salt, sig, target string }{
		{
			"", "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01",
			"4a533d47ec9c7d95b1ad75f576cffc641853b750",
		}, {
			"foobar", "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17ddf9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08",
			"411eba73b6f087ca51a3795d9c8c938d365e32c1",
		},
	} {
		it := Item{Key: public, Salt: []byte(v.salt), Seq: 1, Value: []byte("12:Hello World!"), Sig: [64]byte(unhex(t, v.sig))}
		if err := it.Check(); err != nil {
			t.Errorf("salt %q: %v", v.salt, err)
		}
		if target := it.Target(); hex.EncodeToString(target[:]) != v.target {
			t.Errorf("salt %q: target %x", v.salt, target)
		}
	}
}

func TestItemCheck(t *testing.T) {
	k := key(1)
	long := "997:" + strings.Repeat("x", 997) // 1001 bytes
	for _, c := range []struct {
		name string
		it   Item
		want error
	}{
		{"a good one", signed(k, "web", 3, "d1:ai1e1:bl1:xee"), nil},
		{"no salt", signed(k, "", 0, "le"), nil},
		{"1000 bytes", signed(k, "", 1, "996:"+strings.Repeat("x", 996)), nil},
		{"1001 bytes", signed(k, "", 1, long), ErrTooLarge},
		{"long salt", signed(k, strings.Repeat("s", 65), 1, "de"), ErrSalt},
		{"negative seq", signed(k, "", -1, "de"), ErrEncoding},
		{"no value", signed(k, "", 1, ""), ErrEncoding},
		{"two values", signed(k, "", 1, "i1ei2e"), ErrEncoding},
		{"keys not sorted", signed(k, "", 1, "d1:bi1e1:ai1ee"), ErrEncoding},
		{"key twice", signed(k, "", 1, "d1:ai1e1:ai1ee"), ErrEncoding},
		{"leading zero", signed(k, "", 1, "i01e"), ErrEncoding},
		{"minus zero", signed(k, "", 1, "i-0e"), ErrEncoding},
		{"deep", signed(k, "", 1, strings.Repeat("l", 100)+strings.Repeat("e", 100)), ErrEncoding},
	} {
		if err := c.it.Check(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	good := signed(k, "web", 3, "i7e")
	for what, change := range map[string]func(*Item){
		"key":   func(i *Item) { i.Key = [32]byte(key(2).Public().(ed25519.PublicKey)) },
		"salt":  func(i *Item) { i.Salt = []byte("wep") },
		"seq":   func(i *Item) { i.Seq++ },
		"value": func(i *Item) { i.Value = []byte("i8e") },
		"sig":   func(i *Item) { i.Sig[0] ^= 1 },
	} {
		it := good.clone()
		if change(&it); !errors.Is(it.Check(), ErrSignature) {
			t.Errorf("another %s is not noticed", what)
		}
	}
}

type heardItem struct {
	seq   int64
	value string
	from  netip.AddrPort
}

func follow(n *Node, it Item, every time.Duration, l *list[heardItem]) (stop func()) {
	return n.Follow(it.Key, it.Salt, every, func(it Item, from netip.AddrPort) {
		l.add(heardItem{it.Seq, string(it.Value), from})
	})
}

// Nobody asks again within the test, so that what is heard was handed on. The
// number of packets is that of one flood, not of many.
func TestPush(t *testing.T) {
	const count = 16
	nodes := farm(t, count, Config{})
	wait(t, "all to know all", func() bool {
		return !slices.ContainsFunc(nodes, func(n *Node) bool { return n.Stats().Good < count-1 })
	})
	first := signed(key(1), "web", 1, "5:first")
	var heard [count]list[heardItem]
	for i, n := range nodes {
		defer follow(n, first, time.Hour, &heard[i])()
	}
	stop, err := nodes[0].Publish(first)
	if err != nil {
		t.Fatal(err)
	}
	all := func(seq int64) func() bool {
		return func() bool {
			for i := range heard {
				if l := heard[i].all(); len(l) == 0 || l[len(l)-1].seq != seq {
					return false
				}
			}
			return true
		}
	}
	wait(t, "all to hear the first", all(1))
	settle(t, nodes)
	before := sent(nodes)
	second := signed(key(1), "web", 2, "6:second")
	stop2, err := nodes[0].Publish(second)
	if err != nil {
		t.Fatal(err)
	}
	defer stop2()
	stop()
	began := time.Now()
	wait(t, "all to hear the second", all(2))
	t.Logf("%d followers heard after %v", count-1, time.Since(began))
	settle(t, nodes)
	// Each of 16 asks 15 others at the most, and each gets a put from 15 at the most;
	// all with their replies, and again those of the publisher's lookup.
	packets := sent(nodes) - before
	t.Logf("%d packets", packets)
	if most := uint64(count * (count - 1) * 4 * 3 / 2); packets > most {
		t.Errorf("%d packets, more than %d", packets, most)
	}
	for i := range heard {
		l := heard[i].all()
		if len(l) != 2 || l[0].value != "5:first" || l[1].value != "6:second" || l[1].from.IsValid() != (i != 0) {
			t.Errorf("node %d heard %v", i, l)
		}
	}
}

func sent(nodes []*Node) (sum uint64) {
	for _, n := range nodes {
		sum += n.Stats().PacketsOut
	}
	return sum
}

// settle waits until no packets are sent any more.
func settle(t testing.TB, nodes []*Node) {
	t.Helper()
	last, same := uint64(0), 0
	wait(t, "the nodes to be quiet", func() bool {
		now := sent(nodes)
		if same++; now != last {
			last, same = now, 0
		}
		return same > 60
	})
}

func TestPollAndGet(t *testing.T) {
	nodes := farm(t, 3, Config{})
	ctx := context.Background()
	it := signed(key(1), "", 5, "i5e")
	if _, err := nodes[1].Get(ctx, it.Key, it.Salt); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get of nothing: %v", err)
	}
	stop, err := nodes[0].Publish(it)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	wait(t, "the item to be stored", func() bool { return nodes[1].Stats().Items == 1 && nodes[2].Stats().Items == 1 })
	got, err := nodes[1].Get(ctx, it.Key, it.Salt)
	if err != nil || got.Seq != 5 || string(got.Value) != "i5e" || got.Check() != nil {
		t.Errorf("Get: %v, %v", got, err)
	}
	var heard list[heardItem]
	late, _ := run(t, Config{ReadOnly: true, Bootstrap: []string{nodes[2].Addr().String()}})
	defer follow(late, it, 50*time.Millisecond, &heard)()
	wait(t, "a late one to hear", func() bool { return len(heard.all()) == 1 })
	stop2, err := nodes[0].Publish(signed(key(1), "", 6, "i6e"))
	if err != nil {
		t.Fatal(err)
	}
	defer stop2()
	wait(t, "one that nobody can push to to hear", func() bool { return len(heard.all()) == 2 })
	if _, err := nodes[0].Publish(it); !errors.Is(err, ErrOld) {
		t.Errorf("an older item can be published: %v", err)
	}
	if _, err := nodes[0].Publish(signed(key(1), "", 6, "i7e")); !errors.Is(err, ErrOld) {
		t.Errorf("another item of the same number can be published: %v", err)
	}
	bad := signed(key(1), "", 9, "i6e")
	bad.Seq++
	if _, err := nodes[0].Publish(bad); !errors.Is(err, ErrSignature) {
		t.Errorf("a wrong signature can be published: %v", err)
	}
}

// A publisher that comes before all others, and before Run, is heard.
func TestPublishBeforeRun(t *testing.T) {
	c := listen(t, "127.0.0.1:0")
	n, err := New(Config{Conn: c, Allow: loopback})
	if err != nil {
		t.Fatal(err)
	}
	it := signed(key(1), "web", 1, "de")
	var own, other list[heardItem]
	defer follow(n, it, time.Hour, &own)()
	stop, err := n.Publish(it)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	defer func() { cancel(); <-done }()
	wait(t, "the own follower", func() bool { return len(own.all()) == 1 })
	late, _ := run(t, Config{Bootstrap: []string{n.Addr().String()}})
	defer follow(late, it, time.Hour, &other)()
	wait(t, "a late follower", func() bool { return len(other.all()) == 1 })
	if own.all()[0].from.IsValid() || other.all()[0].from != n.Addr() {
		t.Errorf("from %v and %v", own.all(), other.all())
	}
}

// A follower brings an item to those who have lost it, when its publisher is gone.
func TestFollowersKeepItem(t *testing.T) {
	a, stopA := run(t, Config{})
	b, _ := run(t, Config{Bootstrap: []string{a.Addr().String()}})
	it := signed(key(1), "web", 1, "de")
	var heard, late list[heardItem]
	defer follow(b, it, 50*time.Millisecond, &heard)()
	if _, err := a.Publish(it); err != nil {
		t.Fatal(err)
	}
	wait(t, "b to hear", func() bool { return len(heard.all()) == 1 })
	stopA()
	c, _ := run(t, Config{})
	b.AddNode(c.Addr())
	wait(t, "a new node to be given the item", func() bool { return c.Stats().Items == 1 })
	defer follow(c, it, time.Hour, &late)()
	wait(t, "its follower", func() bool { return len(late.all()) == 1 })
}

func TestFollowStops(t *testing.T) {
	nodes := farm(t, 2, Config{})
	var heard list[heardItem]
	one := signed(key(1), "", 1, "i1e")
	stop := follow(nodes[1], one, time.Hour, &heard)
	if _, err := nodes[0].Publish(one); err != nil {
		t.Fatal(err)
	}
	wait(t, "the first", func() bool { return len(heard.all()) == 1 })
	stop()
	stop()
	if _, err := nodes[0].Publish(signed(key(1), "", 2, "i2e")); err != nil {
		t.Fatal(err)
	}
	wait(t, "the second to be stored", func() bool {
		st := nodes[1].items.get(one.Target(), time.Now())
		return st != nil && st.item.Seq == 2
	})
	if len(heard.all()) != 1 {
		t.Error("heard after stop")
	}
}

// Two packets may be looked at in another order than they were stored.
func TestFollowerHearsInOrder(t *testing.T) {
	c := listen(t, "127.0.0.1:0")
	defer func() { _ = c.Close() }()
	n, err := New(Config{Conn: c})
	if err != nil {
		t.Fatal(err)
	}
	f := &follower{}
	f.box.max = 10
	for _, seq := range []int64{0, 2, 1, 2, 3} {
		f.tell(n, &stored{item: signed(key(1), "", seq, "de")})
	}
	var got []int64
	for _, d := range f.box.queue {
		got = append(got, d.item.Seq)
	}
	if !slices.Equal(got, []int64{0, 2, 3}) {
		t.Errorf("heard %v", got)
	}
}
