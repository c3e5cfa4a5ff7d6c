package swarm

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"distd/pkg/swarm/wire"
)

const (
	// infoTimeout is how long a peer may be silent, and partTime what each part
	// may take on the average beyond that.
	infoTimeout = 20 * time.Second
	partTime    = 250 * time.Millisecond
	// maxChatter is how many bytes a peer may send of what it was not asked for: of
	// its pieces, of other peers.
	maxChatter = 8 << 20
	minMessage = 5 // bytes
)

// errNoProgress is a peer that talks of other things only, or is very slow.
var errNoProgress = errors.New("peer brings nothing of it")

// infoAsk is one connection on which the info dictionary and the documents are
// asked for, side by side.
type infoAsk struct {
	f          *InfoFetch
	s          *wire.Session
	nc         net.Conn
	peer       netip.AddrPort
	met        bool        // the peer has said what it has
	dhtPort    uint16      // where it says that its DHT is
	dhtTold    atomic.Bool // that was passed on
	info, docs gather
}

func newInfoAsk(f *InfoFetch, peer netip.AddrPort, info, docs *sought, s *wire.Session, nc net.Conn) *infoAsk {
	a := &infoAsk{f: f, s: s, nc: nc, peer: peer}
	a.info = gather{of: info, ask: a, window: infoWindow, decode: wire.DecodeMetadata, parts: map[int][]byte{}}
	a.docs = gather{of: docs, ask: a, window: docsWindow, parts: map[int][]byte{}, decode: func(b []byte) (*wire.MetadataMsg, error) {
		return wire.DecodeDocs(b, f.cfg.MaxDocuments)
	}}
	return a
}

// run reads messages until the peer has brought what is missing, or will bring
// no more. What it says of the content is passed over: nothing can be made of it
// yet.
func (a *infoAsk) run() (err error) {
	defer func() {
		for _, g := range []*gather{&a.info, &a.docs} {
			if !g.over {
				g.end(nil)
			}
			err = errors.Join(err, g.err)
		}
	}()
	if err := a.hello(); err != nil {
		return err
	}
	// Something must come, or the peer is of no use: news of pieces do not count.
	began := time.Now()
	progress, parts, chatter := began, 0, 0
	r := wire.NewReader(a.s.Conn, wire.ReaderConfig{
		Limits: wire.Limits{Fast: a.s.Fast, Extensions: true, MaxExtended: maxExtended}, Timeout: infoTimeout,
	})
	var m wire.Message
	for {
		if err := r.Next(&m); err != nil {
			return err
		}
		if m.Type == wire.Port {
			a.dhtPort = m.Port
			a.passDHT()
		}
		if m.Type == wire.Extended {
			moved, err := a.extended(m.ExtID, m.Data)
			if err != nil {
				return err
			}
			if a.met && !a.info.open() && !a.docs.open() {
				return nil
			}
			if moved {
				progress = time.Now()
				parts++
				continue
			}
		}
		if chatter += minMessage + len(m.Data); chatter > maxChatter {
			return errChatter
		}
		if now := time.Now(); now.Sub(progress) > infoTimeout || now.Sub(began) > infoTimeout+time.Duration(parts)*partTime {
			return errNoProgress
		}
	}
}

// hello sends the handshake of BEP 10, and where this node's DHT is.
func (a *infoAsk) hello() error {
	cfg := &a.f.e.cfg
	h := wire.ExtHandshake{
		M: map[string]uint8{wire.ExtPEX: extPEX, wire.ExtMetadata: extMetadata},
		V: cfg.Version, Port: cfg.Port, YourIP: a.peer.Addr(),
	}
	if cfg.Zone != "" {
		h.Distd = &wire.DistdInfo{Version: 1, Zone: cfg.Zone}
	}
	if a.docs.of != nil {
		h.M[wire.ExtDocs] = extDocs
	}
	if a.s.DHT {
		return a.write(wire.AppendPort(wire.AppendExtended(nil, 0, h.Encode()), cfg.DHTPort))
	}
	return a.send(0, h.Encode())
}

// passDHT passes on where the peer's DHT is, once its zone was compared.
func (a *infoAsk) passDHT() {
	if a.met {
		a.f.e.metDHT(a.peer.Addr(), a.dhtPort, &a.dhtTold)
	}
}

// extended handles an extended message, and reports whether it brought what is
// sought nearer.
func (a *infoAsk) extended(id uint8, data []byte) (bool, error) {
	switch id {
	case 0:
		h, err := wire.DecodeExtHandshake(data)
		if err != nil || a.met {
			return false, err // it may say more of itself at any time
		}
		a.met = true
		if err := a.f.e.sameZone(h); err != nil {
			a.f.e.cfg.KeptOut(SourceHandshake, remoteAddr(a.nc))
			return false, err
		}
		a.passDHT()
		if h.MetadataSize == 0 {
			h.M[wire.ExtMetadata] = 0
		}
		return true, errors.Join(a.info.begin(h.M[wire.ExtMetadata], h.MetadataSize), a.docs.begin(h.M[wire.ExtDocs], 0))
	case extPEX:
		if x, err := wire.DecodePEX(data); err == nil {
			var addrs []netip.AddrPort
			for _, p := range x.Added[:min(len(x.Added), 2*maxPEX)] {
				addrs = append(addrs, p.Addr)
			}
			a.f.heard(addrs)
		}
	case extMetadata:
		return a.info.message(data)
	case extDocs:
		return a.docs.message(data)
	}
	return false, nil
}

func (a *infoAsk) send(id uint8, payload []byte) error {
	return a.write(wire.AppendExtended(nil, id, payload))
}

func (a *infoAsk) write(b []byte) error {
	_ = a.nc.SetWriteDeadline(time.Now().Add(infoTimeout))
	_, err := a.s.Conn.Write(b)
	return err
}
