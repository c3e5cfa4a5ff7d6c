package dht

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/anacrolix/torrent/bencode"
)

func unmarshal(b []byte, into any) error { return bencode.Unmarshal(b, into) }

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		query1("ping", ""), query1("find_node", argTarget), query1("get_peers", argHash+"4:wantl2:n42:n6e"),
		query1("announce_peer", "12:implied_porti0e"+argHash+"4:porti7000e5:token1:x"),
		query1("put", putArgs(signed(key(1), "web", 1, "d1:ai1ee"), "5:token1:x")),
		query1("get", "3:seqi1e"+argTarget),
		"d2:ip6:\x7f\x00\x00\x01\x1b\x591:rd2:id20:" + testID + "5:nodes26:" + strings.Repeat("n", 26) + "5:token1:x6:valuesl6:abcdefee1:t2:aa1:y1:re",
		"d1:rd2:id20:" + testID + "1:k32:" + strings.Repeat("k", 32) + "6:nodes638:" + strings.Repeat("n", 38) + "3:seqi1e3:sig64:" + strings.Repeat("s", 64) + "1:vle1:w0:e1:t2:aa1:y1:re",
		"d1:eli203e3:whye1:t2:aa1:y1:ee",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, why := parse(b)
		if (m == nil) == (why == "") {
			t.Fatalf("%v, %q", m, why)
		}
		if m == nil || m.kind == 'q' || len(b) > maxPacket {
			return
		}
		readable(t, m)
		g := guard{zone: zone{allow: loopback}, refused: new(tally)}
		g.strip(m, netip.AddrPort{})
		for _, n := range m.nodes {
			if !loopback(n.addr.Addr()) {
				t.Fatalf("%v is left", n)
			}
		}
		for _, p := range m.peers {
			if !loopback(p.Addr()) {
				t.Fatalf("%v is left", p)
			}
		}
		readable(t, m)
	})
}

// What is canonical is what others write who read it.
func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"i0e", "le", "de", "d1:ai-5e1:bl3:xyzdeee", "i9223372036854775807e", "0:"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		it := Item{Value: b}
		if err := it.Check(); !canonical(b) {
			if err == nil {
				t.Fatal("taken though it is not canonical")
			}
			return
		}
		var v any
		if err := unmarshal(b, &v); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if out, err := bencode.Marshal(v); err != nil || !bytes.Equal(out, b) {
			t.Fatalf("%q is written as %q, %v", b, out, err)
		}
	})
}

func FuzzNodesFile(f *testing.F) {
	file := nodesFile{id: [20]byte{1}, host: "a", nodes: []node{{[20]byte{2}, loop(1)}}}
	f.Add(file.format())
	f.Add([]byte(nodesForm + "\nid x\n"))
	f.Add([]byte(nodesForm + "\nid 0100000000000000000000000000000000000000\nnode 0100000000000000000000000000000000000000 [fe80::1%eth0]:1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := parseNodesFile(b)
		if err != nil {
			return
		}
		if len(file.nodes) > maxSaved {
			t.Fatalf("%d nodes", len(file.nodes))
		}
		again, err := parseNodesFile(file.format())
		if err != nil || again.id != file.id || again.host != file.host || len(again.nodes) != len(file.nodes) {
			t.Fatalf("%q becomes %q: %v", b, file.format(), err)
		}
	})
}
