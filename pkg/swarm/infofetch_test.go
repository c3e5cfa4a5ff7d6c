package swarm

import (
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"distd/pkg/swarm/wire"
)

// infoOf returns a dictionary of so many bytes, for what nobody parses.
func infoOf(size int) []byte {
	info := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(size)}).Read(info)
	return info
}

func newInfoFetch(t *testing.T, hash [20]byte, policy wire.Policy) *InfoFetch {
	t.Helper()
	f, err := NewInfoFetch(InfoConfig{InfoHash: hash, PeerID: [20]byte{1}, Encryption: policy, Log: testLog(t), retry: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// The dictionary comes from a peer that has it, in more parts than are asked for
// at once, whatever others do: of one that does not have it, of one that lies and
// of an address where nobody is.
func TestInfoIsFetched(t *testing.T) {
	info := infoOf(3*infoWindow*wire.MetadataBlock + 777)
	con := newContent(t, 300<<10, 64<<10)
	con.hash = sha1.Sum(info)
	for _, policy := range []wire.Policy{wire.Off, wire.Allow, wire.Require} {
		seed := startNode(t, con, nodeOptions{seed: true, policy: policy, spec: func(s *Spec) { s.InfoBytes = info }})
		without := startNode(t, con, nodeOptions{policy: policy})
		lie := bytes.Clone(info)
		lie[5] ^= 1
		liar := startNode(t, con, nodeOptions{seed: true, policy: policy, spec: func(s *Spec) { s.InfoBytes = lie }})
		f := newInfoFetch(t, con.hash, policy)
		f.AddPeers("test", []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1"), without.addr, liar.addr})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		time.AfterFunc(10*time.Millisecond, func() { f.AddPeers("test", []netip.AddrPort{seed.addr}) })
		got, err := f.Run(ctx)
		cancel()
		if err != nil || !bytes.Equal(got, info) {
			t.Errorf("encryption %v: %d bytes, %v", policy, len(got), err)
		}
		if n := f.e.conns.Load(); n != 0 {
			t.Errorf("encryption %v: %d connections are left", policy, n)
		}
		if n := len(f.Peers()); n < 4 {
			t.Errorf("encryption %v: %d peers are known, want 4", policy, n)
		}
	}
}

func TestInfoFetchEndsWithItsContext(t *testing.T) {
	f := newInfoFetch(t, [20]byte{1}, wire.Allow)
	f.AddPeers("test", []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := f.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

// fakeInfoPeer is a peer that shakes hands, answers requests for parts and does
// nothing else.
type fakeInfoPeer struct {
	hash [20]byte
	size int // of the info that it says it has; 0: none
	info func(part int) []byte
	docs func(part int) []byte // nil: it is no distd
	// asked counts the requests for documents, conns the handshakes.
	asked, conns atomic.Int32
	chatter      bool // it tells of its pieces without end
}

const fakeMeta, fakeDocs = 9, 8

// start lets it listen until the test ends.
func (p *fakeInfoPeer) start(t *testing.T) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); all.Wait() })
	all.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() { p.serve(nc); _ = nc.Close() })
		}
	})
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

func (p *fakeInfoPeer) serve(nc net.Conn) {
	s, err := wire.Accept(context.Background(), nc, wire.Options{PeerID: [20]byte{2}, Known: func(h [20]byte) bool { return h == p.hash }})
	if err != nil {
		return
	}
	p.conns.Add(1)
	hello := wire.ExtHandshake{M: map[string]uint8{}, MetadataSize: p.size}
	if p.info != nil {
		hello.M[wire.ExtMetadata] = fakeMeta
	}
	if p.docs != nil {
		hello.M[wire.ExtDocs] = fakeDocs
	}
	_, _ = nc.Write(wire.AppendExtended(nil, 0, hello.Encode()))
	for lot := bytes.Repeat([]byte{0, 0, 0, 5, byte(wire.Have), 0, 0, 0, 1}, 1000); p.chatter; {
		if _, err := nc.Write(lot); err != nil {
			return
		}
	}
	r := wire.NewReader(s.Conn, wire.ReaderConfig{Limits: wire.Limits{Fast: true, Extensions: true}})
	var m wire.Message
	for r.Next(&m) == nil {
		if m.Type != wire.Extended || m.ExtID == 0 {
			continue
		}
		q, err := wire.DecodeMetadata(m.Data)
		switch {
		case err != nil:
			return
		case m.ExtID == fakeMeta:
			_, _ = nc.Write(wire.AppendExtended(nil, extMetadata, p.info(q.Piece)))
		case m.ExtID == fakeDocs:
			p.asked.Add(1)
			_, _ = nc.Write(wire.AppendExtended(nil, extDocs, p.docs(q.Piece)))
		}
	}
}

// partsOf answers with the parts of a blob.
func partsOf(blob []byte) func(int) []byte {
	return func(p int) []byte {
		begin := min(len(blob), p*wire.MetadataBlock)
		return dataMsg(p, len(blob), blob[begin:min(len(blob), begin+wire.MetadataBlock)])
	}
}

func dataMsg(part, total int, data []byte) []byte {
	m := wire.MetadataMsg{Kind: wire.MetadataData, Piece: part, TotalSize: total, Data: data}
	return m.Encode()
}

func rejectMsg(part int) []byte {
	m := wire.MetadataMsg{Kind: wire.MetadataReject, Piece: part}
	return m.Encode()
}

// badAnswers are answers to requests for parts of a blob of so many bytes, that
// no peer may give.
func badAnswers(size int) map[string]func(part int) []byte {
	return map[string]func(part int) []byte{
		"garbage":        func(int) []byte { return []byte("xyz") },
		"refusal":        rejectMsg,
		"part not asked": func(int) []byte { return dataMsg(2000, 2001*wire.MetadataBlock, make([]byte, wire.MetadataBlock)) },
		"other size":     func(p int) []byte { return dataMsg(p, size+(1+p)*wire.MetadataBlock, make([]byte, wire.MetadataBlock)) },
		"no size":        func(p int) []byte { return dataMsg(p, 0, nil) },
		"negative size":  func(p int) []byte { return dataMsg(p, -5, make([]byte, 5)) },
		"no end":         func(p int) []byte { return dataMsg(p, 1<<40, make([]byte, wire.MetadataBlock)) },
		"short part":     func(p int) []byte { return dataMsg(p, size, make([]byte, 3)) },
	}
}

// askOne asks one peer.
func askOne(t *testing.T, f *InfoFetch, at netip.AddrPort) (info, docs []byte, err error) {
	i, d := f.seek(f.cfg.Documents)
	err = f.ask(t.Context(), &infoPeer{ap: at}, i, d)
	return i.result(), d.result(), err
}

// What breaks the protocol costs its peer the connection and nothing else.
func TestInfoFetchFromHostilePeers(t *testing.T) {
	info := infoOf(2*wire.MetadataBlock + 5)
	hash := sha1.Sum(info)
	for name, answer := range badAnswers(len(info)) {
		bad := &fakeInfoPeer{hash: hash, size: len(info), info: answer}
		if _, _, err := askOne(t, newInfoFetch(t, hash, wire.Off), bad.start(t)); err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := &fakeInfoPeer{hash: hash, size: len(info), info: partsOf(info)}
	if got, _, err := askOne(t, newInfoFetch(t, hash, wire.Off), good.start(t)); err != nil || !bytes.Equal(got, info) {
		t.Errorf("a good peer: %d bytes, %v", len(got), err)
	}
}
