package swarm

import (
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"distd/pkg/swarm/wire"
)

// lies collects what an InfoFetch was told that is not what it asked for.
type lies struct {
	mu   sync.Mutex
	errs []error
}

func (r *lies) add(_ netip.AddrPort, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errs = append(r.errs, err)
}

func (r *lies) of(kind error) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, err := range r.errs {
		if errors.Is(err, kind) {
			n++
		}
	}
	return n
}

// Whatever a peer lies about is told, and named in the log once, however many ports
// the liar has and however often it is asked.
func TestLiesAreCountedAndNamedOnce(t *testing.T) {
	info, docs := infoOf(50), infoOf(3*wire.MetadataBlock)
	con := newContent(t, 300<<10, 64<<10)
	con.hash = sha1.Sum(info)
	hash := con.hash
	twice := func(p int) []byte { return partsOf(docs)(p / 2) }
	liars := []*fakeInfoPeer{
		{hash: hash, size: 51, info: partsOf(infoOf(51))},
		{hash: hash, size: 51, info: partsOf(infoOf(51))},
		{hash: hash, docs: partsOf(infoOf(99))},
		{hash: hash, docs: twice},
	}
	var at []netip.AddrPort
	for _, p := range liars {
		at = append(at, p.start(t))
	}
	core, logs := observer.New(zap.WarnLevel)
	var r lies
	f := docsFetch(t, hash, docs, func(c *InfoConfig) { c.OnRefused, c.Log = r.add, zap.New(core) })
	f.AddPeers(SourceTracker, at)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	done := make(chan error, 1)
	var gotInfo, gotDocs []byte
	go func() {
		var err error
		gotInfo, gotDocs, err = f.RunBoth(ctx)
		done <- err
	}()
	for r.of(errBadInfo) < 4 || r.of(errBadDocs) < 1 || r.of(errBadPart) < 1 {
		select {
		case err := <-done:
			t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
	f.AddPeers(SourceTracker, []netip.AddrPort{seedOf(t, con, info, docs).addr})
	if err := <-done; err != nil || !bytes.Equal(gotInfo, info) || !bytes.Equal(gotDocs, docs) {
		t.Errorf("%d bytes of info and %d of documents, %v", len(gotInfo), len(gotDocs), err)
	}
	if n := r.of(errBadDocs); n != 1 {
		t.Errorf("a liar about documents was asked %d times", n)
	}
	if n := logs.FilterMessageSnippet("not the release's").Len(); n != 1 {
		t.Errorf("%d lines in the log name one address", n)
	}
}

// One address with many ports, where peers take connections and say nothing, does
// not keep others from being asked.
func TestOneAddressHoldsUpNobody(t *testing.T) {
	f := docsFetch(t, [20]byte{1}, nil)
	now := time.Now()
	var many []netip.AddrPort
	for port := range uint16(100) {
		many = append(many, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), 1+port))
	}
	good := netip.MustParseAddrPort("192.0.2.2:6881")
	f.AddPeers(SourceDHT, append(many, good))
	now = now.Add(time.Second)
	asked := map[netip.AddrPort]bool{}
	for range maxInfoAsked {
		if p, _ := f.next(now); p != nil {
			f.connected(p)
			asked[p.ap] = true
		}
	}
	if !asked[good] || len(asked) != maxInfoAtAddr+1 {
		t.Errorf("asked %v", asked)
	}
	// Those that have held a connection for long make room, at other addresses.
	var others []netip.AddrPort
	for i := range byte(maxInfoAsked + 1) {
		others = append(others, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 10 + i}), 6881))
	}
	f.AddPeers(SourceDHT, others)
	now = now.Add(leadTime)
	for i := range maxInfoAsked {
		if p, _ := f.next(now); p == nil || p.ap.Addr() == many[0].Addr() {
			t.Fatalf("peer %d that is asked is %v", i, p)
		}
	}
	if p, wait := f.next(now); p != nil || wait <= 0 {
		t.Errorf("one too many is asked: %v, %v", p, wait)
	}
}

// A peer that never stops sending what it was not asked for is hung up on.
func TestEndlessChatter(t *testing.T) {
	info := infoOf(50)
	hash := sha1.Sum(info)
	p := &fakeInfoPeer{hash: hash, size: len(info), info: func(int) []byte { return nil }, chatter: true}
	if _, _, err := askOne(t, newInfoFetch(t, hash, wire.Off), p.start(t)); !errors.Is(err, errChatter) {
		t.Errorf("ended by %v", err)
	}
}

// Of something large no more than a few copies come at once, and the slowest gives
// way to a further one.
func TestSlowestOfLargeGivesWay(t *testing.T) {
	s := &sought{name: "documents"}
	now := time.Now()
	var all []*gather
	for i, came := range []int32{1000, 1, 1000} {
		g := &gather{of: s, leads: true, size: maxShared + 1, parts: map[int][]byte{}, asked: 1}
		g.came.Store(came)
		now = now.Add(leadTime)
		if !s.lead(g, now) {
			t.Fatalf("copy %d may not come", i)
		}
		if s.lead(&gather{of: s}, now.Add(leadTime-1)) {
			t.Fatalf("another comes too soon after copy %d", i)
		}
		all = append(all, g)
	}
	now = now.Add(leadTime)
	further := &gather{of: s}
	if !s.lead(further, now) || len(s.leads) != maxLeads {
		t.Fatalf("%d copies come", len(s.leads))
	}
	for i, g := range all {
		if g.passed.Load() != (i == 1) {
			t.Errorf("copy %d gives way: %v", i, g.passed.Load())
		}
	}
	data := wire.MetadataMsg{Kind: wire.MetadataData, TotalSize: all[1].size, Data: []byte{1}}
	if _, err := all[1].part(&data); err != nil || !all[1].over || !errors.Is(all[1].err, errElsewhere) || all[1].parts != nil {
		t.Errorf("it goes on: over %v, %v", all[1].over, err)
	}
	all[0].end(nil)
	if len(s.leads) != maxLeads-1 {
		t.Errorf("%d lead", len(s.leads))
	}
}
