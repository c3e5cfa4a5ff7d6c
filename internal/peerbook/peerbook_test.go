package peerbook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// clock is a clock that stands still until it is moved.
type clock struct{ t time.Time }

func newClock() *clock                   { return &clock{time.Unix(1_700_000_000, 0)} }
func (c *clock) now() time.Time          { return c.t }
func (c *clock) advance(d time.Duration) { c.t = c.t.Add(d) }

func mustOpen(t *testing.T, path string, c *clock) *Book {
	t.Helper()
	b, err := open(path, zap.NewNop(), c.now)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func numbered(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}), 6881)
}

func TestPeersNewestFirst(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "peers.json")
	b := mustOpen(t, path, c)
	a1, a2, a3 := addr("10.0.0.1:6881"), addr("[2001:db8::2]:6882"), addr("10.0.0.3:6883")
	b.Note("web", []netip.AddrPort{a1})
	c.advance(time.Hour)
	b.Note("web", []netip.AddrPort{a2})
	b.Note("news", []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom16(a1.Addr().As16()), a1.Port())}) // the same, mapped into IPv6
	c.advance(time.Hour)
	b.Note("", []netip.AddrPort{a3})
	check := func(b *Book, when string) {
		t.Helper()
		for _, q := range []struct {
			channel string
			limit   int
			want    []netip.AddrPort
		}{
			{"web", 9, []netip.AddrPort{a2, a1}},
			{"web", 1, []netip.AddrPort{a2}},
			{"web", 0, nil},
			{"web", -1, nil},
			{"news", 9, []netip.AddrPort{a1}},
			{"other", 9, nil},
			{"", 9, []netip.AddrPort{a3, a1, a2}}, // a1 and a2 at the same time: by address
			{"", 2, []netip.AddrPort{a3, a1}},
		} {
			if got := b.Peers(q.channel, q.limit); !slices.Equal(got, q.want) {
				t.Errorf("%s: Peers(%q, %d) = %v, want %v", when, q.channel, q.limit, got, q.want)
			}
		}
	}
	check(b, "noted")
	if err := b.Save(); err != nil {
		t.Fatal(err)
	}
	check(mustOpen(t, path, c), "read again")
	c.advance(MaxAge - time.Hour)
	if got := mustOpen(t, path, c).Peers("", 9); !slices.Equal(got, []netip.AddrPort{a3, a1, a2}) {
		t.Errorf("after 30 days of the second hour: %v", got)
	}
	c.advance(time.Second)
	for _, b := range []*Book{b, mustOpen(t, path, c)} {
		if got := b.Peers("", 9); !slices.Equal(got, []netip.AddrPort{a3}) {
			t.Errorf("a second later: %v", got)
		}
	}
}

func TestNotePassesOver(t *testing.T) {
	b := mustOpen(t, filepath.Join(t.TempDir(), "peers.json"), newClock())
	b.Note("Not a channel", []netip.AddrPort{numbered(1)})
	for _, s := range []string{"10.0.0.1:0", "0.0.0.0:1", "[::]:1", "239.192.152.143:6771", "[ff15::efc0:988f]:6771", "169.254.1.1:1", "[fe80::1]:1", "[fe80::1%eth0]:1"} {
		b.Note("web", []netip.AddrPort{addr(s)})
	}
	b.Note("web", []netip.AddrPort{{}})
	if got := b.Peers("", 9); len(got) > 0 {
		t.Errorf("noted %v", got)
	}
	if err := b.Save(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(b.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a book without a change was written: %v", err)
	}
}

func TestBounds(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "peers.json")
	b := mustOpen(t, path, c)
	for i := range MaxPeers + 50 {
		b.Note("web", []netip.AddrPort{numbered(i)})
		c.advance(time.Second)
	}
	got := b.Peers("web", 1000)
	if len(got) != MaxPeers || got[0] != numbered(MaxPeers+49) || got[MaxPeers-1] != numbered(50) {
		t.Errorf("%d peers, %v to %v", len(got), got[0], got[len(got)-1])
	}
	var many []netip.AddrPort
	for i := range 3 * MaxPeers {
		many = append(many, numbered(1000+i))
	}
	b.Note("many", many)
	if got := b.Peers("many", 1000); len(got) != MaxPeers {
		t.Errorf("%d peers of many noted at once", len(got))
	}
	c.advance(time.Second)
	for i := range MaxChannels {
		b.Note(fmt.Sprint("c", i), []netip.AddrPort{addr("[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535")})
	}
	if len(b.channels) != MaxChannels || b.channels["web"] != nil || b.channels["many"] != nil {
		t.Errorf("%d channels, and the oldest two have %d and %d peers", len(b.channels), len(b.channels["web"]), len(b.channels["many"]))
	}
	if err := b.Save(); err != nil {
		t.Fatal(err)
	}
	if again := mustOpen(t, path, c); len(again.channels) != MaxChannels {
		t.Errorf("%d channels read again", len(again.channels))
	}
}

// TestFullBook has room for the largest book in the file: it measures a part of
// one, with the longest names and addresses.
func TestFullBook(t *testing.T) {
	const channels = 20
	c := newClock()
	path := filepath.Join(t.TempDir(), "peers.json")
	b := mustOpen(t, path, c)
	for i := range channels {
		var all []netip.AddrPort
		for n := range MaxPeers {
			all = append(all, netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, byte(i), byte(n), 0xff}), 65535))
		}
		b.Note(fmt.Sprintf("%s%04d", strings.Repeat("x", 59), i), all)
	}
	if err := b.Save(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size()*MaxChannels/channels > maxFile {
		t.Errorf("%d channels take %d bytes (%v)", channels, info.Size(), err)
	}
	if got := mustOpen(t, path, c).Peers("", 1e9); len(got) != channels*MaxPeers {
		t.Errorf("%d peers read again", len(got))
	}
}

func TestDamagedFileIsSetAside(t *testing.T) {
	entries := strings.Repeat(`{"peer":"10.0.0.1:1","seen":1},`, MaxPeers) + `{"peer":"10.0.0.1:1","seen":1}`
	channels := `"a":[]`
	for i := range MaxChannels {
		channels += fmt.Sprintf(`,"c%d":[]`, i)
	}
	for name, c := range map[string]struct{ file, want string }{
		"empty":        {"", "EOF"},
		"cut":          {`{"version":1,"channels":{"web":[{"pe`, "EOF"},
		"no JSON":      {"\x00\x00\x00", "invalid character"},
		"version":      {`{"version":2,"channels":{}}`, "version 2"},
		"field":        {`{"version":1,"channels":{},"more":1}`, "unknown field"},
		"trailing":     {`{"version":1,"channels":{}}{}`, "more follows"},
		"channel":      {`{"version":1,"channels":{"../x":[]}}`, "channel"},
		"address":      {`{"version":1,"channels":{"web":[{"peer":"x","seen":1}]}}`, "not such a file"},
		"multicast":    {`{"version":1,"channels":{"web":[{"peer":"239.1.1.1:6881","seen":1}]}}`, "no address of a peer"},
		"no address":   {`{"version":1,"channels":{"web":[{"seen":1}]}}`, "no address of a peer"},
		"too many":     {`{"version":1,"channels":{"web":[` + entries + `]}}`, "201 peers"},
		"too much":     {`{"version":1,"channels":{` + channels + `}}`, "1001 channels"},
		"deep nesting": {strings.Repeat("[", 20_000), "not such a file"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "peers.json")
			if err := os.WriteFile(path, []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
			core, logs := observer.New(zap.InfoLevel)
			b, err := open(path, zap.New(core), newClock().now)
			if err != nil {
				t.Fatal(err)
			}
			if got := b.Peers("", 9); len(got) > 0 {
				t.Errorf("peers %v", got)
			}
			all := logs.All()
			if len(all) != 1 || all[0].Level != zap.WarnLevel || !strings.Contains(fmt.Sprint(all[0].ContextMap()["error"]), c.want) {
				t.Errorf("logged %+v, want one warning with %q", all, c.want)
			}
			if aside, err := os.ReadFile(path + ".damaged"); err != nil || string(aside) != c.file {
				t.Errorf("set aside: %d bytes, %v", len(aside), err)
			}
			b.Note("web", []netip.AddrPort{numbered(1)})
			if err := b.Save(); err != nil {
				t.Error(err)
			}
			if got := mustOpen(t, path, newClock()).Peers("web", 9); len(got) != 1 {
				t.Errorf("peers of the new book: %v", got)
			}
		})
	}
}

func TestLargeFileIsSetAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers.json")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, maxFile+1)); err != nil {
		t.Fatal(err)
	}
	if _, err := readFile(path); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("error %v", err)
	}
	mustOpen(t, path, newClock())
	if info, err := os.Stat(path + ".damaged"); err != nil || info.Size() != maxFile+1 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "file", "peers.json")
	if _, err := Open(path, zap.NewNop()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, want one that names %s", err, path)
	}
}

// TestAhead has a file of a clock that went wrong: its peers count as seen now.
func TestAhead(t *testing.T) {
	now := newClock().now()
	read, err := decode(fmt.Appendf(nil, `{"version":1,"channels":{"web":[{"peer":"10.0.0.1:1","seen":%d}]}}`, now.Add(9999*time.Hour).Unix()), now)
	if err != nil || !read["web"][addr("10.0.0.1:1")].Equal(now) {
		t.Errorf("%v, %v", read, err)
	}
}

func TestSaveFailsAndGoesOn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	path := filepath.Join(dir, "peers.json")
	b := mustOpen(t, path, newClock())
	b.Note("web", []netip.AddrPort{numbered(1)})
	if err := b.Save(); err == nil || !strings.Contains(err.Error(), path) {
		t.Fatalf("error %v, want one that names %s", err, path)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := b.Save(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

func TestRunSaves(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers.json")
	synctest.Test(t, func(t *testing.T) {
		b, err := Open(path, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { b.Run(ctx); close(done) }()
		saved := func() int64 { // the time of the only peer in the file; 0 without one
			synctest.Wait()
			var doc document
			data, err := os.ReadFile(path)
			if err == nil {
				err = json.Unmarshal(data, &doc)
			}
			if err != nil {
				return 0
			}
			return doc.Channels["web"][0].Seen
		}
		note := func() int64 { b.Note("web", []netip.AddrPort{numbered(1)}); return time.Now().Unix() }

		time.Sleep(5*time.Minute + time.Second)
		first := note()
		time.Sleep(58 * time.Second)
		if got := saved(); got != 0 {
			t.Error("saved before a minute was over")
		}
		time.Sleep(2 * time.Second)
		if got := saved(); got != first {
			t.Errorf("after a minute: %d, want %d", got, first)
		}
		second := note()
		time.Sleep(9 * time.Minute)
		if got := saved(); got != first {
			t.Errorf("a peer that was only seen again is saved at once")
		}
		time.Sleep(2 * time.Minute)
		if got := saved(); got != second {
			t.Errorf("after ten minutes: %d, want %d", got, second)
		}
		third := note()
		cancel()
		<-done
		if got := saved(); got != third {
			t.Errorf("at the end: %d, want %d", got, third)
		}
	})
}

func TestRunWarnsOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gone", "peers.json")
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		b, err := Open(path, zap.New(core))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute+time.Second)
		defer cancel()
		b.Note("web", []netip.AddrPort{numbered(1)})
		b.Run(ctx)
		if n := logs.Len(); n != 1 {
			t.Errorf("%d lines in ten minutes: %v", n, logs.All())
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"version":1,"channels":{"web":[{"peer":"10.0.0.1:6881","seen":1700000000}],"":[{"peer":"[2001:db8::1]:1","seen":1}]}}`))
	f.Add([]byte(`{"version":1,"channels":{"web":[{"peer":"[::ffff:10.0.0.1]:6881","seen":9223372036854775807}]}}`))
	f.Add([]byte(`{"version":1,"channels":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := newClock()
		read, err := decode(data, c.now())
		if err != nil {
			return
		}
		if len(read) > MaxChannels {
			t.Fatalf("%d channels", len(read))
		}
		b := &Book{channels: read, now: c.now}
		first := b.Peers("", 1e9)
		out, err := b.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := decode(out, c.now())
		if err != nil {
			t.Fatalf("own file is refused: %v\n%s", err, out)
		}
		b.channels = again
		if second := b.Peers("", 1e9); !slices.Equal(first, second) {
			t.Fatalf("%v became %v", first, second)
		}
	})
}
