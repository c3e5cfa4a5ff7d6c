package swarm

import (
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"distd/pkg/swarm/wire"
)

// docsFetch is a fetch of info and documents that believes those documents only.
func docsFetch(t *testing.T, hash [20]byte, want []byte, change ...func(*InfoConfig)) *InfoFetch {
	t.Helper()
	c := InfoConfig{InfoHash: hash, PeerID: [20]byte{1}, Log: testLog(t), retry: time.Millisecond, Documents: true, CheckDocuments: func(b []byte) error {
		if !bytes.Equal(b, want) {
			return errors.New("they are of another release")
		}
		return nil
	}}
	for _, f := range change {
		f(&c)
	}
	f, err := NewInfoFetch(c)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// both runs the fetch with the peers and checks what comes.
func both(t *testing.T, f *InfoFetch, info, docs []byte, peers ...netip.AddrPort) {
	t.Helper()
	f.AddPeers(SourceTracker, peers)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	gotInfo, gotDocs, err := f.RunBoth(ctx)
	if err != nil || !bytes.Equal(gotInfo, info) || !bytes.Equal(gotDocs, docs) {
		t.Errorf("%d bytes of info and %d of documents, %v; want %d and %d", len(gotInfo), len(gotDocs), err, len(info), len(docs))
	}
	if n := f.e.conns.Load(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

// seedOf is a complete node that has info and documents; either may be nil.
func seedOf(t *testing.T, con *content, info, docs []byte, change ...func(*Spec)) *node {
	t.Helper()
	return startNode(t, con, nodeOptions{seed: true, directing: true, spec: func(s *Spec) {
		s.InfoBytes, s.Release = info, someRelease
		if docs != nil {
			s.Documents = func() ([]byte, error) { return docs, nil }
		}
		for _, f := range change {
			f(s)
		}
	}})
}

func TestInfoAndDocumentsFromOnePeer(t *testing.T) {
	info := infoOf(wire.MetadataBlock + 9)
	con := newContent(t, 300<<10, 64<<10)
	con.hash = sha1.Sum(info)
	for _, size := range []int{1, wire.MetadataBlock, wire.MetadataBlock + 1, 3 << 20} {
		docs := infoOf(size)
		both(t, docsFetch(t, con.hash, docs), info, docs, seedOf(t, con, info, docs).addr)
	}
}

// A stock peer has the info only, another distd the documents only.
func TestInfoAndDocumentsFromTwoPeers(t *testing.T) {
	info, docs := infoOf(3*wire.MetadataBlock), infoOf(100<<10)
	con := newContent(t, 300<<10, 64<<10)
	con.hash = sha1.Sum(info)
	stock := &fakeInfoPeer{hash: con.hash, size: len(info), info: partsOf(info)}
	both(t, docsFetch(t, con.hash, docs), info, docs, stock.start(t), seedOf(t, con, nil, docs).addr)
}

// Run is content with the info, and does not ask for more.
func TestInfoAloneOfKin(t *testing.T) {
	info := infoOf(100)
	hash := sha1.Sum(info)
	kin := &fakeInfoPeer{hash: hash, size: len(info), info: partsOf(info), docs: partsOf(infoOf(99))}
	f := docsFetch(t, hash, nil)
	f.AddPeers(SourceTracker, []netip.AddrPort{kin.start(t)})
	if got, err := f.Run(t.Context()); err != nil || !bytes.Equal(got, info) || kin.asked.Load() != 0 {
		t.Errorf("%d bytes, %v, %d requests for documents", len(got), err, kin.asked.Load())
	}
}

// A peer that sent the documents of another release is not asked again; the next
// one is.
func TestLiarAboutDocuments(t *testing.T) {
	info, docs := infoOf(50), infoOf(500<<10)
	hash := sha1.Sum(info)
	liar := &fakeInfoPeer{hash: hash, docs: partsOf(infoOf(400 << 10))}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	f := docsFetch(t, hash, docs, func(c *InfoConfig) {
		check := c.CheckDocuments
		c.CheckDocuments = func(b []byte) error {
			err := check(b)
			if err != nil {
				time.AfterFunc(200*time.Millisecond, cancel) // long after its retry
			}
			return err
		}
	})
	f.AddPeers(SourceTracker, []netip.AddrPort{liar.start(t)})
	if _, got, err := f.RunBoth(ctx); err == nil || got != nil {
		t.Errorf("believed %d bytes of a liar: %v", len(got), err)
	}
	if n := liar.conns.Load(); n != 1 {
		t.Errorf("the liar was asked %d times", n)
	}
	honest := &fakeInfoPeer{hash: hash, size: len(info), info: partsOf(info), docs: partsOf(docs)}
	both(t, f, info, docs, honest.start(t))
}

// When time is up, what has come is returned.
func TestInfoWithoutDocuments(t *testing.T) {
	info := infoOf(50)
	hash := sha1.Sum(info)
	stock := &fakeInfoPeer{hash: hash, size: len(info), info: partsOf(info)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f := docsFetch(t, hash, nil, func(c *InfoConfig) {
		c.Dial = func(ctx context.Context, ap netip.AddrPort) (net.Conn, error) {
			if stock.conns.Load() == 2 {
				cancel() // it is asked again and again
			}
			var d net.Dialer
			return d.DialContext(ctx, "tcp", ap.String())
		}
	})
	f.AddPeers(SourceTracker, []netip.AddrPort{stock.start(t)})
	got, docs, err := f.RunBoth(ctx)
	if !errors.Is(err, context.Canceled) || !bytes.Equal(got, info) || docs != nil {
		t.Errorf("%d bytes of info, %d of documents, %v", len(got), len(docs), err)
	}
}

func TestDocumentsFromHostilePeers(t *testing.T) {
	info := infoOf(50)
	hash := sha1.Sum(info)
	const size = 3*wire.MetadataBlock + 5
	for name, answer := range badAnswers(size) {
		bad := &fakeInfoPeer{hash: hash, size: len(info), info: partsOf(info), docs: answer}
		f := docsFetch(t, hash, nil, func(c *InfoConfig) { c.MaxDocuments = 1 << 20; c.CheckDocuments = nil })
		if _, docs, err := askOne(t, f, bad.start(t)); err == nil || docs != nil || errors.Is(err, context.Canceled) {
			t.Errorf("%s: %d bytes, %v", name, len(docs), err)
		}
	}
	large := &fakeInfoPeer{hash: hash, docs: partsOf(make([]byte, 1<<20+1))}
	f := docsFetch(t, hash, nil, func(c *InfoConfig) { c.MaxDocuments = 1 << 20 })
	if _, docs, err := askOne(t, f, large.start(t)); !wire.IsProtocolError(err) {
		t.Errorf("a byte too many: %d bytes, %v", len(docs), err)
	}
}

// Something large comes from one peer, as long as it comes; the others are spared.
func TestLargeDocumentsComeOnce(t *testing.T) {
	info, docs := infoOf(50), infoOf(4<<20)
	hash := sha1.Sum(info)
	var peers []*fakeInfoPeer
	var at []netip.AddrPort
	for range 4 {
		p := &fakeInfoPeer{hash: hash, size: len(info), info: partsOf(info), docs: partsOf(docs)}
		peers, at = append(peers, p), append(at, p.start(t))
	}
	both(t, docsFetch(t, hash, docs, func(c *InfoConfig) { c.retry = 0 }), info, docs, at...)
	var lead int32
	for _, p := range peers {
		if n := p.asked.Load(); n > 10*p.conns.Load() {
			lead++
		}
	}
	if lead != 1 {
		t.Errorf("%d peers were asked for all", lead)
	}
}

// Addresses where nobody answers hold up no others.
func TestDeadAddressesHoldUpNobody(t *testing.T) {
	info := infoOf(50)
	hash := sha1.Sum(info)
	good := (&fakeInfoPeer{hash: hash, size: len(info), info: partsOf(info)}).start(t)
	reached := make(chan struct{})
	var once sync.Once
	f := docsFetch(t, hash, nil, func(c *InfoConfig) {
		c.Documents = false
		c.Dial = func(ctx context.Context, ap netip.AddrPort) (net.Conn, error) {
			if ap == good {
				once.Do(func() { close(reached) })
				var d net.Dialer
				return d.DialContext(ctx, "tcp", ap.String())
			}
			<-reached // dead as long as the good one is not dialled
			return nil, io.ErrNoProgress
		}
	})
	var peers []netip.AddrPort
	for i := range maxInfoDialled - 1 {
		peers = append(peers, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(1+i)))
	}
	both(t, f, info, nil, append(peers, good)...)
}

// A peer that does not know the torrent yet hangs up, and is asked again soon.
func TestPeerThatHearsOfTheTorrentLater(t *testing.T) {
	info, docs := infoOf(50), infoOf(70)
	con, other := newContent(t, 300<<10, 64<<10), newContent(t, 200<<10, 64<<10)
	con.hash = sha1.Sum(info)
	seed := startNode(t, other, nodeOptions{seed: true})
	f := docsFetch(t, con.hash, docs, func(c *InfoConfig) { c.retry = 0 })
	time.AfterFunc(100*time.Millisecond, func() {
		seed.also(con, true, func(s *Spec) {
			s.InfoBytes, s.Documents = info, func() ([]byte, error) { return docs, nil }
		})
	})
	both(t, f, info, docs, seed.addr)

	p := f.order[0]
	for i, err := range []error{io.ErrUnexpectedEOF, errors.New("refused")} {
		p.failures = 0
		before := time.Now()
		f.ended(p, err)
		if d := p.due.Sub(before); i == 0 && d > 300*time.Millisecond || i == 1 && d < time.Second {
			t.Errorf("after %v it is asked again in %v", err, d)
		}
	}
	// Named again, it is not left alone for as long as it failed often.
	p.failures = 9
	f.ended(p, errors.New("refused"))
	f.AddPeers(SourceTracker, []netip.AddrPort{p.ap})
	if d := time.Until(p.due); d > infoRetry {
		t.Errorf("named again it is asked in %v", d)
	}
}
