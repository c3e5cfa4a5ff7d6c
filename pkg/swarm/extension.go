package swarm

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"distd/pkg/swarm/wire"
)

// Numbers under which this node wants to be sent extended messages.
const (
	extPEX      = 1
	extMetadata = 2
	// extDirecting is never sent: its presence tells other distd that this is a
	// directing seed, which looks as if it had nothing.
	extDirecting     = 3
	extClaims        = 4
	extDocs          = 5
	extDirectingName = "distd_directing"
)

const (
	// maxExtended bounds an extended message of a peer, in bytes.
	maxExtended = wire.MaxExtHandshake
	// pexEvery is the least time between two PEX messages on a connection, and
	// maxPEX the peers in one, as BEP 11 wants.
	pexEvery = time.Minute
	pexFirst = 2 * time.Second
	// pexSeed is pexFirst for directing seeds, which should know each other soon.
	pexSeed = 300 * time.Millisecond
	maxPEX  = 50
	// maxMetaServed bounds how often the metadata, or the documents, are sent over
	// one connection.
	maxMetaServed = 4
	// maxMetaWaiting is how many bytes may wait for a peer that asks for them:
	// hundreds of peers that do not read what they ask for must not fill memory.
	maxMetaWaiting = 256 << 10
)

// greetExtended sends the handshake of BEP 10.
func (t *Torrent) greetExtended(c *conn) {
	h := wire.ExtHandshake{
		M: map[string]uint8{wire.ExtMetadata: extMetadata},
		V: t.e.cfg.Version, Port: t.e.cfg.Port, Reqq: maxRequests,
		YourIP: c.remote.Addr(), MetadataSize: len(t.spec.InfoBytes),
		Distd: &wire.DistdInfo{Version: 1, Block: wire.DefaultMaxRequest, Release: t.spec.Release, Zone: t.e.cfg.Zone},
	}
	if !t.spec.Private {
		h.M[wire.ExtPEX] = extPEX
	}
	if t.spec.Documents != nil {
		h.M[wire.ExtDocs] = extDocs
	}
	if t.spec.Directing {
		h.M[extDirectingName] = extDirecting
	}
	if t.spec.OneCopy {
		h.M[wire.ExtClaims] = extClaims
	}
	c.w.SendExtended(0, h.Encode())
}

// extended handles an extended message.
func (t *Torrent) extended(c *conn, id uint8, data []byte) error {
	if id != 0 && c.held.Load() {
		return nil // of a peer that may be of another zone
	}
	switch id {
	case 0:
		return t.extHandshake(c, data)
	case extPEX:
		return t.pexCame(c, data)
	case extMetadata:
		return t.metadata(c, data)
	case extClaims:
		return t.claimsCame(c, data)
	case extDocs:
		return t.docsCame(c, data)
	}
	return nil
}

func (t *Torrent) extHandshake(c *conn, data []byte) error {
	h, err := wire.DecodeExtHandshake(data)
	if err != nil {
		return err
	}
	if h.V != "" {
		c.client = h.V
	}
	if err := t.meet(c, h); err != nil || c.foreign != nil {
		return err
	}
	if h.Reqq > 0 {
		c.pe.SetLimit(min(h.Reqq, maxRequests))
	}
	c.kin = h.Distd != nil
	if c.kin {
		c.pe.SetKin()
		c.longBlocks(min(h.Distd.Block, wire.DefaultMaxRequest))
	} else {
		c.pe.SetStock()
	}
	c.pexID, c.metaID, c.docsID = h.M[wire.ExtPEX], h.M[wire.ExtMetadata], h.M[wire.ExtDocs]
	if h.M[extDirectingName] != 0 && !c.directing {
		c.directing = true
		if c.addr != nil {
			c.addr.partner = true
		}
		t.pick.Exempt(c.pe, seedID(c.s.PeerID))
		if t.spec.Directing {
			t.sendBitfield(c) // only the leaves are to think that nothing is here
		}
	}
	if id := h.M[wire.ExtClaims]; id != 0 && t.spec.OneCopy {
		known := c.claimsID != 0
		if c.claimsID = id; !known {
			t.introduce(c)
		}
	}
	if c.s.Incoming && h.Port != 0 && c.addr == nil {
		if a := t.book.add(SourceIncoming, netip.AddrPortFrom(c.remote.Addr(), h.Port)); a != nil && !a.busy {
			t.adoptAddr(c, a)
		}
	}
	return nil
}

// longBlocks lets one request name up to n bytes of the peer, which has said
// that it takes such.
func (c *conn) longBlocks(n uint32) {
	l := c.r.Limits()
	l.MaxBlock = max(l.MaxBlock, n)
	c.r.SetLimits(l)
	c.pe.SetUnit(int(n))
}

// seedID is what directing seeds split the pieces by.
func seedID(id [20]byte) uint64 { return binary.BigEndian.Uint64(id[12:]) }

// metadata serves the info dictionary (BEP 9).
func (t *Torrent) metadata(c *conn, data []byte) error {
	m, err := wire.DecodeMetadata(data)
	if err != nil {
		return err
	}
	if m.Kind != wire.MetadataRequest || c.metaID == 0 {
		return nil
	}
	c.sendPart(c.metaID, t.spec.InfoBytes, m.Piece, &c.metaServed)
	return nil
}

// sendPart answers a request for a part of a blob, under the number that the peer
// gave to such messages. It refuses what is not there, what was served often
// enough, and what would pile up.
func (c *conn) sendPart(id uint8, blob []byte, part int, served *int) {
	parts := wire.MetadataParts(len(blob))
	answer := wire.MetadataMsg{Kind: wire.MetadataReject, Piece: part}
	waiting, _ := c.w.Queued()
	if part < parts && *served < maxMetaServed*parts && waiting < maxMetaWaiting {
		*served++
		begin := part * wire.MetadataBlock
		answer.Kind, answer.TotalSize = wire.MetadataData, len(blob)
		answer.Data = blob[begin:min(begin+wire.MetadataBlock, len(blob))]
	}
	c.w.SendExtended(id, answer.Encode())
}

// pexCame takes in the addresses that a peer knows. Too many messages are
// ignored and not punished: stock clients differ in their pace.
func (t *Torrent) pexCame(c *conn, data []byte) error {
	now := time.Now()
	if t.spec.Private || !c.pexCame.IsZero() && now.Sub(c.pexCame) < pexEvery/6 {
		return nil
	}
	c.pexCame = now
	x, err := wire.DecodePEX(data)
	if err != nil {
		var p *wire.ProtocolError
		if errors.As(err, &p) {
			return err
		}
		return nil
	}
	for i, p := range x.Added {
		if i >= 2*maxPEX {
			break
		}
		if a := t.book.add(SourcePEX, p.Addr); a != nil && p.Flags&wire.PEXSeed != 0 && !a.busy {
			a.seed = true
		}
	}
	return nil
}

// tickPEX tells a peer whom else we are connected to, what changed since the
// last time.
func (t *Torrent) tickPEX(c *conn, now time.Time) {
	first := pexFirst
	if c.directing {
		first = pexSeed
	}
	if t.spec.Private || c.pexID == 0 || now.Sub(c.since) < first || now.Sub(c.pexAt) < pexEvery {
		return
	}
	c.pexAt = now
	if c.pexSent == nil {
		c.pexSent = make(map[netip.AddrPort]struct{})
	}
	var x wire.PEX
	live := make(map[netip.AddrPort]struct{}, len(t.conns))
	for _, o := range t.conns {
		if o == c || o.addr == nil || o.held.Load() {
			continue
		}
		live[o.addr.ap] = struct{}{}
		if _, sent := c.pexSent[o.addr.ap]; sent || len(x.Added) >= maxPEX {
			continue
		}
		c.pexSent[o.addr.ap] = struct{}{}
		x.Added = append(x.Added, wire.PEXPeer{Addr: o.addr.ap, Flags: o.pexFlags()})
	}
	for ap := range c.pexSent {
		if _, ok := live[ap]; !ok && len(x.Dropped) < maxPEX {
			delete(c.pexSent, ap)
			x.Dropped = append(x.Dropped, ap)
		}
	}
	if len(x.Added)+len(x.Dropped) > 0 {
		c.w.SendExtended(c.pexID, x.Encode())
	}
}

func (c *conn) pexFlags() (f uint8) {
	if !c.s.Incoming {
		f |= wire.PEXOutgoing
	}
	if c.addr.seed {
		f |= wire.PEXSeed
	}
	if c.s.Obfuscated {
		f |= wire.PEXEncryption
	}
	return f
}
