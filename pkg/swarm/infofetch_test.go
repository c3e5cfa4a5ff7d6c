package swarm

import (
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
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

// infoPeerOf is a peer that shakes hands, answers requests with what answer gives
// and nothing else.
func infoPeerOf(t *testing.T, hash [20]byte, size int, answer func(part int) []byte) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { _ = ln.Close(); <-ended })
	go func() {
		defer close(ended)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			serveInfo(nc, hash, size, answer)
			_ = nc.Close()
		}
	}()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

func serveInfo(nc net.Conn, hash [20]byte, size int, answer func(part int) []byte) {
	s, err := wire.Accept(context.Background(), nc, wire.Options{PeerID: [20]byte{2}, Known: func(h [20]byte) bool { return h == hash }})
	if err != nil {
		return
	}
	hello := wire.ExtHandshake{M: map[string]uint8{wire.ExtMetadata: 9}, MetadataSize: size}
	_, _ = nc.Write(wire.AppendExtended(nil, 0, hello.Encode()))
	r := wire.NewReader(s.Conn, wire.ReaderConfig{Limits: wire.Limits{Fast: true, Extensions: true}})
	var m wire.Message
	for r.Next(&m) == nil {
		if m.Type != wire.Extended || m.ExtID != 9 {
			continue
		}
		q, err := wire.DecodeMetadata(m.Data)
		if err != nil {
			return
		}
		_, _ = nc.Write(wire.AppendExtended(nil, extMetadata, answer(q.Piece)))
	}
}

// What breaks the protocol costs its peer the connection and nothing else.
func TestInfoFetchFromHostilePeers(t *testing.T) {
	info := infoOf(2*wire.MetadataBlock + 5)
	hash := sha1.Sum(info)
	for name, answer := range map[string]func(part int) []byte{
		"garbage":        func(int) []byte { return []byte("xyz") },
		"refusal":        func(p int) []byte { m := wire.MetadataMsg{Kind: wire.MetadataReject, Piece: p}; return m.Encode() },
		"part not asked": func(int) []byte { return dataMsg(2000, 2001*wire.MetadataBlock, make([]byte, wire.MetadataBlock)) },
		"other size":     func(p int) []byte { return dataMsg(p, len(info)+wire.MetadataBlock, make([]byte, wire.MetadataBlock)) },
	} {
		bad := infoPeerOf(t, hash, len(info), answer)
		f := newInfoFetch(t, hash, wire.Off)
		if _, err := f.ask(t.Context(), bad); err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := infoPeerOf(t, hash, len(info), func(p int) []byte {
		return dataMsg(p, len(info), info[p*wire.MetadataBlock:min(len(info), (p+1)*wire.MetadataBlock)])
	})
	if got, err := newInfoFetch(t, hash, wire.Off).ask(t.Context(), good); err != nil || !bytes.Equal(got, info) {
		t.Errorf("a good peer: %d bytes, %v", len(got), err)
	}
}

func dataMsg(part, total int, data []byte) []byte {
	m := wire.MetadataMsg{Kind: wire.MetadataData, Piece: part, TotalSize: total, Data: data}
	return m.Encode()
}
