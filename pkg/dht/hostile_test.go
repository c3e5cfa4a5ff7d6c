package dht

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/anacrolix/dht/v2/krpc"
)

// infoHash, target and the like as bencoded arguments; keys must ascend.
const (
	argHash   = "9:info_hash20:mnopqrstuvwxyz123456"
	argTarget = "6:target20:mnopqrstuvwxyz123456"
)

// What ended the library, or was logged by it for each packet.
func TestCrashPackets(t *testing.T) {
	n, _ := run(t, Config{})
	f := newForeign(t, "127.0.0.2:0")
	for _, p := range []string{
		"d1:q13:announce_peer1:t2:aa1:y1:qe",
		"d1:q3:put1:t2:aa1:y1:qe",
		"d1:q9:find_node1:t2:aa1:y1:qe",
		"d1:ade1:q4:ping1:t2:aa1:y1:qe",
		"d2:ip1:x1:rd2:id20:" + testID + "e1:t2:aa1:y1:re",
		"d1:rd2:id20:" + testID + "6:valuesl1:xee1:t2:aa1:y1:re",
		"d1:rd2:id20:" + testID + "5:nodes25:" + strings.Repeat("n", 25) + "e1:t2:aa1:y1:re",
		"d1:t2:aa1:y1:re",
		"d1:el3:abci1ee1:t2:aa1:y1:ee",
		"d1:ele1:t2:aa1:y1:ee",
		"d1:q999999999:x",
		"d1:qi999999999999999999999999999e",
		strings.Repeat("d1:a", 500),
		strings.Repeat("l", 2000),
		"", "d", "de", "i1e", "\x00\x01\x02",
		query1("ping", "") + "x",
	} {
		f.send(n, p)
	}
	f.send(n, query1("sample_infohashes", argTarget))
	f.send(n, query1("find_node", "")) // without target
	f.send(n, query1("announce_peer", argHash+"4:porti0e5:token1:x"))
	f.send(n, query1("get_peers", "9:info_hash3:abc"))
	f.send(n, "x"+strings.Repeat("y", 3000))
	wait(t, "all to be refused", func() bool {
		r := n.Stats().Refused
		return r[Malformed] == 22 && r[UnknownQuery] == 1 && r[TooLong] == 1
	})
	if m := f.call(n, "ping", ""); m.kind != 'r' || m.id != n.id {
		t.Errorf("ping: %+v", m)
	}
}

func token(t *testing.T, f *foreign, n *Node) string {
	t.Helper()
	m := f.call(n, "get_peers", argHash)
	if m.kind != 'r' || len(m.token) == 0 {
		t.Fatalf("get_peers: %+v", m)
	}
	return fmt.Sprintf("5:token%d:%s", len(m.token), m.token)
}

func putArgs(it Item, token string) string {
	b := []byte("1:k32:" + string(it.Key[:]))
	if len(it.Salt) > 0 {
		b = appendStr(append(b, "4:salt"...), it.Salt)
	}
	b = appendNum(append(b, "3:seq"...), it.Seq)
	b = appendStr(append(b, "3:sig"...), it.Sig[:])
	b = append(b, token+"1:v"...)
	return string(append(b, it.Value...))
}

func TestPutsRefused(t *testing.T) {
	n, _ := run(t, Config{})
	f := newForeign(t, "127.0.0.2:0")
	tok := token(t, f, n)
	k := key(1)
	good := signed(k, "web", 5, "i5e")
	var heard list[heardItem]
	defer follow(n, good, time.Hour, &heard)()
	wrongSig, otherSalt := good.clone(), good.clone()
	wrongSig.Seq++
	otherSalt.Salt = []byte("wep")
	for _, c := range []struct {
		name, args string
		code       int64 // 0: taken
		why        Reason
	}{
		{"bad token", putArgs(good, "5:token3:abc"), 203, BadToken},
		{"good", putArgs(good, tok), 0, ""},
		{"good again", putArgs(good, tok), 0, ""},
		{"wrong signature", putArgs(wrongSig, tok), 206, BadSignature},
		{"other salt", putArgs(otherSalt, tok), 206, BadSignature},
		{"older", putArgs(signed(k, "web", 4, "i4e"), tok), 302, OldSeq},
		{"same number, other value", putArgs(signed(k, "web", 5, "i6e"), tok), 302, OldSeq},
		{"too large", putArgs(signed(k, "web", 6, "1000:"+strings.Repeat("x", 1000)), tok), 205, BadValue},
		{"long salt", putArgs(signed(k, strings.Repeat("s", 65), 6, "de"), tok), 207, BadValue},
		{"cas of another", "3:casi4e" + putArgs(signed(k, "web", 6, "i6e"), tok), 301, BadCAS},
		{"cas", "3:casi5e" + putArgs(signed(k, "web", 6, "i6e"), tok), 0, ""},
		{"immutable", tok + "1:v5:hello", 0, ""},
		{"large immutable", tok + "1:v1000:" + strings.Repeat("x", 1000), 205, BadValue},
	} {
		before := n.Stats().Refused[c.why]
		m := f.call(n, "put", c.args)
		if (m.kind == 'e') != (c.code != 0) || m.code != c.code {
			t.Errorf("%s: %c %d %s", c.name, m.kind, m.code, m.text)
		}
		if c.code != 0 && n.Stats().Refused[c.why] != before+1 {
			t.Errorf("%s is not counted as %s", c.name, c.why)
		}
	}
	wait(t, "the follower", func() bool { return len(heard.all()) == 2 })
	if l := heard.all(); l[0].seq != 5 || l[1].seq != 6 || l[0].from != f.addr() {
		t.Errorf("heard %v", l)
	}
	target := good.Target()
	m := f.call(n, "get", "6:target20:"+string(target[:]))
	if m.key == nil || *m.key != good.Key || *m.seq != 6 || string(m.value) != "i6e" {
		t.Errorf("get: %+v", m)
	}
	if m = f.call(n, "get", "3:seqi6e6:target20:"+string(target[:])); m.value != nil || m.seq == nil || *m.seq != 6 {
		t.Errorf("get of a newer one: %+v", m)
	}
	target = immutableTarget([]byte("5:hello"))
	if m = f.call(n, "get", "6:target20:"+string(target[:])); string(m.value) != "5:hello" || m.key != nil {
		t.Errorf("get of an immutable one: %+v", m)
	}
}

func TestAnnounceRefused(t *testing.T) {
	n, _ := run(t, Config{})
	f, other := newForeign(t, "127.0.0.2:0"), newForeign(t, "127.0.0.3:0")
	tok := token(t, f, n)
	announce := argHash + "4:porti7000e"
	if m := other.call(n, "announce_peer", announce+tok); m.code != 203 {
		t.Errorf("another's token is good: %+v", m)
	}
	if m := f.call(n, "announce_peer", announce+tok); m.kind != 'r' {
		t.Errorf("announce: %+v", m)
	}
	if m := f.call(n, "announce_peer", "12:implied_porti1e"+announce+tok); m.kind != 'r' {
		t.Errorf("announce with implied port: %+v", m)
	}
	m := other.call(n, "get_peers", argHash)
	if len(m.peers) != 2 {
		t.Errorf("%v, want two peers", m.peers)
	}
	for range 40 {
		m = f.call(n, "announce_peer", argHash+fmt.Sprintf("4:porti%de", 8000+n.Stats().Peers)+tok)
	}
	if m.code != 202 || n.Stats().Refused[Full] == 0 || n.Stats().Peers != 32 {
		t.Errorf("any number of ports is taken: %+v, %+v", m, n.Stats())
	}
}

// 127.0.0.2 is outside: it is neither answered nor asked, stored or named.
func TestOutsideOfZone(t *testing.T) {
	n, _ := run(t, Config{Allow: only("127.0.0.1", "127.0.0.9")})
	out, in := newForeign(t, "127.0.0.2:0"), newForeign(t, "127.0.0.9:0")
	out.send(n, query1("ping", ""))
	out.send(n, query1("get_peers", argHash))
	n.AddNode(out.addr())
	wait(t, "the packets to be refused", func() bool { return n.Stats().Refused[Outside] == 3 })
	m := in.call(n, "find_node", argTarget)
	if len(m.nodes) != 0 {
		t.Errorf("named: %v", m.nodes)
	}
	_ = out.c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if k, err := out.c.Read(make([]byte, 2048)); err == nil {
		t.Errorf("%d bytes were sent outside", k)
	}
	if s := n.Stats(); s.Known != 0 {
		t.Errorf("%+v", s)
	}
}

// The guard decides alone, whatever lies behind it.
func TestGuard(t *testing.T) {
	c := listen(t, "127.0.0.1:0")
	defer func() { _ = c.Close() }()
	n, err := New(Config{Conn: c, Allow: only("127.0.0.1", "fd00::1")})
	if err != nil {
		t.Fatal(err)
	}
	ping := []byte(query1("ping", ""))
	for _, x := range []struct {
		addr string
		want Reason
	}{
		{"127.0.0.1:1", ""}, {"127.0.0.1:0", Outside}, {"127.0.0.2:1", Outside}, {"[fd00::1]:1", Outside}, // the socket has no IPv6
	} {
		a := netip.MustParseAddrPort(x.addr)
		if _, why := n.guard.check(ping, a); why != x.want {
			t.Errorf("from %v: %q", a, why)
		}
		if _, err := n.guard.WriteTo(ping, net.UDPAddrFromAddrPort(a)); (err == nil) != (x.want == "") {
			t.Errorf("to %v: %v", a, err)
		}
	}
	for addr, want := range map[string]bool{
		"127.0.0.1": true, "fd00::1": true, "fd00::1%eth0": false, "::ffff:127.0.0.1": false, "::": false, "0.0.0.0": false, "224.0.0.1": false, "255.255.255.255": false,
	} {
		all := zone{}
		if got := all.addr(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
}

// liar answers every query with what reply gives, as the arguments after the ID.
func liar(t *testing.T, f *foreign, reply func(*message) string) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 4096)
		for {
			n, from, err := f.c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			m, why := parse(b[:n])
			if why != "" || m.kind != 'q' {
				continue
			}
			out := appendStr([]byte("d1:rd2:id20:"+testID+reply(m)+"e1:t"), m.txn)
			_, _ = f.c.WriteToUDPAddrPort(append(out, "1:y1:re"...), from)
		}
	}()
	t.Cleanup(func() {
		_ = f.c.Close()
		<-done
	})
}

func TestLiar(t *testing.T) {
	it := signed(key(1), "", 7, "i7e")
	for _, c := range []struct {
		name  string
		reply func(outside netip.AddrPort) string
		why   Reason
	}{
		{"foreign nodes and peers", func(out netip.AddrPort) string {
			compact := string(appendCompact(nil, out))
			mapped := netip.AddrPortFrom(netip.AddrFrom16(out.Addr().As16()), out.Port())
			return "5:nodes26:" + strings.Repeat("z", 20) + compact +
				"6:nodes638:" + strings.Repeat("y", 20) + string(appendCompact(nil, mapped)) +
				"5:token1:x6:valuesl6:" + compact + "6:\x7f\x00\x00\x01\x1b\x59e"
		}, Foreign},
		{"10,000 values", func(netip.AddrPort) string {
			return "6:valuesl" + strings.Repeat("6:\x7f\x00\x00\x01\x1b\x59", 8000) + "e"
		}, TooLong},
		{"item without number", func(netip.AddrPort) string {
			return "1:k32:" + string(it.Key[:]) + "3:sig64:" + string(it.Sig[:]) + "5:token1:x1:vi7e"
		}, ""},
		{"item with a wrong signature", func(netip.AddrPort) string {
			return "1:k32:" + string(it.Key[:]) + "3:seqi8e3:sig64:" + string(it.Sig[:]) + "5:token1:x1:vi7e"
		}, BadSignature},
		{"many nodes that are not there", func(netip.AddrPort) string {
			var b []byte
			for i := range 32 {
				b = append(b, fmt.Sprintf("%020d", time.Now().UnixNano()+int64(i))...)
				b = append(b, 127, 0, 0, 1, byte(i), byte(time.Now().UnixNano())|1)
			}
			return fmt.Sprintf("5:nodes%d:%s", len(b), b)
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			outside := newForeign(t, "127.0.0.2:0")
			cfg := Config{Allow: only("127.0.0.1", "127.0.0.9")}
			cfg.times.resend, cfg.times.tries = 200*time.Millisecond, 1
			n, _ := run(t, cfg)
			f := newForeign(t, "127.0.0.9:0")
			liar(t, f, func(m *message) string {
				if m.query == "ping" || m.query == "find_node" && n.Stats().Good == 0 {
					return ""
				}
				return c.reply(outside.addr())
			})
			n.AddNode(f.addr())
			wait(t, "the liar to be known", func() bool { return n.Stats().Good == 1 })
			var found list[netip.AddrPort]
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := n.Find(ctx, hash1, func(p []netip.AddrPort) { found.add(p...) }); err != nil {
				t.Error(err)
			}
			for _, p := range found.all() {
				if p != loop(7001) {
					t.Errorf("found %v", p)
				}
			}
			if got, err := n.Get(ctx, it.Key, it.Salt); err == nil {
				t.Errorf("got %v", got)
			}
			if c.why != "" && n.Stats().Refused[c.why] == 0 {
				t.Errorf("not counted as %s: %v", c.why, n.Stats().Refused)
			}
			_ = outside.c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if _, err := outside.c.Read(make([]byte, 2048)); err == nil {
				t.Error("an address outside was asked")
			}
			if s := n.Stats(); s.Known != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// A lookup asks an address once, however many nodes are said to be there, and few
// ports of one host.
func TestLookupIsBounded(t *testing.T) {
	n, _ := run(t, Config{})
	victim, f := newForeign(t, "127.0.0.3:0"), newForeign(t, "127.0.0.2:0")
	asked := make(chan string, 1<<16)
	liar(t, victim, func(m *message) string {
		if m.query == "get_peers" {
			asked <- string(m.txn)
		}
		return ""
	})
	liar(t, f, func(m *message) string {
		if m.query != "get_peers" {
			return ""
		}
		var b []byte
		for i := range 32 {
			b = append(b, fmt.Sprintf("%020d", i)...)
			b = appendCompact(b, victim.addr())
		}
		return fmt.Sprintf("5:nodes%d:%s", len(b), b)
	})
	n.AddNode(f.addr())
	wait(t, "the liar to be known", func() bool { return n.Stats().Good == 1 })
	if err := n.Find(context.Background(), hash1, func([]netip.AddrPort) {}); err != nil {
		t.Fatal(err)
	}
	queries := make(map[string]bool) // each may be sent three times
	for len(asked) > 0 {
		queries[<-asked] = true
	}
	if len(queries) != 1 {
		t.Errorf("asked %d times", len(queries))
	}
}

func TestFlood(t *testing.T) {
	cfg := Config{}
	cfg.times.one = pace{rate: 1, burst: 50}
	n, _ := run(t, cfg)
	bad, good := newForeign(t, "127.0.0.2:0"), newForeign(t, "127.0.0.3:0")
	for i := range uint64(400) {
		bad.send(n, query1("ping", ""))
		if i%50 == 0 { // or the socket's buffer is full, and loses others' packets too
			wait(t, "the packets to be read", func() bool { return n.Stats().PacketsIn >= i })
		}
	}
	if m := good.call(n, "ping", ""); m.kind != 'r' {
		t.Errorf("another address is not answered: %+v", m)
	}
	wait(t, "most of it to be refused", func() bool { return n.Stats().Refused[TooFast] >= 340 })
	answers := 0
	for bad.recv(100*time.Millisecond) != nil {
		answers++
	}
	if answers > 52 {
		t.Errorf("%d answers", answers)
	}
}

// A node that calls itself something else each time is not new each time.
func TestChangingIDs(t *testing.T) {
	now := time.Now()
	b := newBook([20]byte{})
	at := loop(1)
	if !b.answered(node{[20]byte{1}, at}, now) {
		t.Error("a new node is not new")
	}
	if b.answered(node{[20]byte{2}, at}, now.Add(time.Second)) {
		t.Error("new again after a second")
	}
	if !b.answered(node{[20]byte{3}, at}, now.Add(time.Minute)) {
		t.Error("not new after a minute")
	}
}

// What the guard hands over is what the library can read.
func readable(t *testing.T, m *message) {
	t.Helper()
	var out krpc.Msg
	if err := unmarshal(m.appendPacket(nil, true, true, netip.AddrPort{}), &out); err != nil {
		t.Fatalf("%+v: %v", m, err)
	}
	if m.kind == 'r' && (out.R == nil || out.R.ID != m.id || len(out.R.Nodes)+len(out.R.Nodes6) != len(m.nodes) ||
		len(out.R.Values) != len(m.peers) || string(out.R.V) != string(m.value)) {
		t.Fatalf("%+v is read as %+v", m, out.R)
	}
	if m.kind == 'e' && (out.E == nil || int64(out.E.Code) != m.code) {
		t.Fatalf("%+v is read as %+v", m, out.E)
	}
}
