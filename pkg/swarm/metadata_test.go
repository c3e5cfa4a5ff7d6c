package swarm

import (
	"bytes"
	"crypto/sha1"
	"math/rand/v2"
	"testing"
	"time"

	"distd/pkg/swarm/wire"
)

// ask sends an extended message and returns the answer with the number.
func (e *enemy) ask(to uint8, msg []byte, number uint8) []byte {
	e.t.Helper()
	e.w.SendExtended(to, msg)
	e.flush()
	var m wire.Message
	_ = e.nc.SetReadDeadline(time.Now().Add(5 * time.Second))
	for {
		if err := e.r.Next(&m); err != nil {
			e.t.Fatalf("no answer: %v", err)
		}
		if m.Type == wire.Extended && m.ExtID == number {
			return m.Data
		}
	}
}

// A peer that came by a magnet link gets the info dictionary part by part and
// checks it by the infohash (BEP 9).
func TestMetadataIsServed(t *testing.T) {
	info := make([]byte, 2*wire.MetadataBlock+777)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(info)
	con := newContent(t, 300<<10, 64<<10)
	con.hash = sha1.Sum(info)
	seed := startNode(t, con, nodeOptions{seed: true, directing: true, spec: func(s *Spec) { s.InfoBytes = info }})
	e := newEnemy(t, seed, con)
	const mine = 7
	hello := wire.ExtHandshake{M: map[string]uint8{wire.ExtMetadata: mine}}
	h, err := wire.DecodeExtHandshake(e.ask(0, hello.Encode(), 0))
	if err != nil || h.MetadataSize != len(info) || h.M[wire.ExtMetadata] == 0 {
		t.Fatalf("handshake %+v (%v), want metadata of %d bytes", h, err, len(info))
	}
	request := func(part int) *wire.MetadataMsg {
		m := wire.MetadataMsg{Kind: wire.MetadataRequest, Piece: part}
		answer, err := wire.DecodeMetadata(e.ask(h.M[wire.ExtMetadata], m.Encode(), mine))
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	var got bytes.Buffer
	for part := range wire.MetadataParts(h.MetadataSize) {
		m := request(part)
		if m.Kind != wire.MetadataData || m.Piece != part || m.TotalSize != len(info) {
			t.Fatalf("answer to part %d: kind %d, part %d, %d bytes in all", part, m.Kind, m.Piece, m.TotalSize)
		}
		got.Write(m.Data)
	}
	if sha1.Sum(got.Bytes()) != con.hash {
		t.Error("the metadata is not that of the infohash")
	}
	if m := request(3); m.Kind != wire.MetadataReject {
		t.Errorf("part 3 of 3 was answered with kind %d", m.Kind)
	}
	for range maxMetaServed {
		request(0)
		request(1)
		request(2)
	}
	if m := request(0); m.Kind != wire.MetadataReject {
		t.Error("metadata is served without end")
	}
}

func TestMetadataThatIsNotHere(t *testing.T) {
	con := newContent(t, 300<<10, 64<<10)
	n := startNode(t, con, nodeOptions{spec: func(s *Spec) { s.InfoBytes = nil }})
	e := newEnemy(t, n, con)
	hello := wire.ExtHandshake{M: map[string]uint8{wire.ExtMetadata: 7}}
	h, err := wire.DecodeExtHandshake(e.ask(0, hello.Encode(), 0))
	if err != nil || h.MetadataSize != 0 {
		t.Fatalf("handshake %+v (%v), want no metadata", h, err)
	}
	m := wire.MetadataMsg{Kind: wire.MetadataRequest}
	if a, err := wire.DecodeMetadata(e.ask(extMetadata, m.Encode(), 7)); err != nil || a.Kind != wire.MetadataReject {
		t.Errorf("answered %+v (%v), want a refusal", a, err)
	}
}

// A peer that asks for metadata and does not read it must not fill memory.
func TestMetadataIsNotPiledUp(t *testing.T) {
	const parts = 500
	info := make([]byte, parts*wire.MetadataBlock)
	con := newContent(t, 300<<10, 64<<10)
	seed := startNode(t, con, nodeOptions{seed: true, spec: func(s *Spec) { s.InfoBytes = info }})
	e := newEnemy(t, seed, con)
	hello := wire.ExtHandshake{M: map[string]uint8{wire.ExtMetadata: 7}}
	h, err := wire.DecodeExtHandshake(e.ask(0, hello.Encode(), 0))
	if err != nil {
		t.Fatal(err)
	}
	for i := range parts {
		m := wire.MetadataMsg{Kind: wire.MetadataRequest, Piece: i}
		e.w.SendExtended(h.M[wire.ExtMetadata], m.Encode())
	}
	have := func(i uint32) { e.w.SendIndex(wire.Have, i) } // by which the end is known
	have(1)
	e.flush()
	eventually(t, 10*time.Second, "all requests are handled", func() (done bool) {
		seed.tor.call(func() {
			for _, c := range seed.tor.conns {
				control, _ := c.w.Queued()
				if control > 2*maxMetaWaiting {
					t.Errorf("%d bytes wait for a peer that does not read", control)
				}
				done = c.pe.Has(1)
			}
			done = done || len(seed.tor.conns) == 0
		})
		return done
	})
}
