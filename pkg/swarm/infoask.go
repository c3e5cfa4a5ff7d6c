package swarm

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"distd/pkg/swarm/wire"
)

var (
	errNoInfo      = errors.New("peer does not have the torrent's info either")
	errInfoRefused = errors.New("peer refuses a part of the torrent's info")
	errBadInfo     = errors.New("what the peer sent is not the torrent's info")
)

// infoAsk is one connection on which the info dictionary is asked for.
type infoAsk struct {
	f     *InfoFetch
	s     *wire.Session
	nc    net.Conn
	to    uint8 // the peer's number for metadata messages
	size  int   // of the dictionary; 0 until the peer has said it
	asked int   // parts
	parts map[int][]byte
}

// run reads messages until the dictionary is there. What a peer says of the
// content is passed over: nothing can be made of it yet.
func (a *infoAsk) run() ([]byte, error) {
	cfg := &a.f.e.cfg
	hello := wire.ExtHandshake{
		M: map[string]uint8{wire.ExtPEX: extPEX, wire.ExtMetadata: extMetadata},
		V: cfg.Version, Port: cfg.Port, YourIP: remoteAddr(a.nc).Addr(),
	}
	if err := a.send(0, hello.Encode()); err != nil {
		return nil, err
	}
	// Something must come for the torrent's info, or the peer is of no use: news
	// of pieces do not count.
	progress := time.Now()
	r := wire.NewReader(a.s.Conn, wire.ReaderConfig{
		Limits: wire.Limits{Fast: a.s.Fast, Extensions: true, MaxExtended: maxExtended}, Timeout: infoTimeout,
	})
	var m wire.Message
	for {
		if err := r.Next(&m); err != nil {
			return nil, err
		}
		if m.Type == wire.Extended {
			moved, err := a.extended(m.ExtID, m.Data)
			if err != nil {
				return nil, err
			}
			if a.size > 0 && len(a.parts) == wire.MetadataParts(a.size) {
				return a.whole()
			}
			if moved {
				progress = time.Now()
			}
		}
		if time.Since(progress) > infoTimeout {
			return nil, errNoInfo
		}
	}
}

// extended handles an extended message, and reports whether it brought the
// dictionary nearer.
func (a *infoAsk) extended(id uint8, data []byte) (bool, error) {
	switch id {
	case 0:
		h, err := wire.DecodeExtHandshake(data)
		if err != nil {
			return false, err
		}
		if a.size != 0 {
			return false, nil // it may say more of itself at any time
		}
		if a.to, a.size = h.M[wire.ExtMetadata], h.MetadataSize; a.to == 0 || a.size == 0 {
			return false, errNoInfo
		}
		return true, a.more()
	case extPEX:
		if x, err := wire.DecodePEX(data); err == nil {
			var addrs []netip.AddrPort
			for _, p := range x.Added[:min(len(x.Added), 2*maxPEX)] {
				addrs = append(addrs, p.Addr)
			}
			a.f.AddPeers(SourcePEX, addrs)
		}
	case extMetadata:
		return a.part(data)
	}
	return false, nil
}

// part takes in a part that was asked for.
func (a *infoAsk) part(data []byte) (bool, error) {
	m, err := wire.DecodeMetadata(data)
	if err != nil {
		return false, err
	}
	switch m.Kind {
	case wire.MetadataRequest:
		no := wire.MetadataMsg{Kind: wire.MetadataReject, Piece: m.Piece}
		return false, a.send(a.to, no.Encode())
	case wire.MetadataReject:
		return false, errInfoRefused
	case wire.MetadataData:
	default:
		return false, nil
	}
	if m.TotalSize != a.size || m.Piece >= a.asked {
		return false, fmt.Errorf("%w: part %d of %d bytes was not asked for", errBadInfo, m.Piece, m.TotalSize)
	}
	if a.parts[m.Piece] != nil {
		return false, nil
	}
	a.parts[m.Piece] = bytes.Clone(m.Data)
	return true, a.more()
}

// more asks for the next parts, a few ahead of those that have come.
func (a *infoAsk) more() error {
	for ; a.asked < min(len(a.parts)+infoWindow, wire.MetadataParts(a.size)); a.asked++ {
		m := wire.MetadataMsg{Kind: wire.MetadataRequest, Piece: a.asked}
		if err := a.send(a.to, m.Encode()); err != nil {
			return err
		}
	}
	return nil
}

func (a *infoAsk) whole() ([]byte, error) {
	info := make([]byte, 0, a.size)
	for i := range len(a.parts) {
		info = append(info, a.parts[i]...)
	}
	if sha1.Sum(info) != a.f.cfg.InfoHash {
		return nil, errBadInfo
	}
	return info, nil
}

func (a *infoAsk) send(id uint8, payload []byte) error {
	_ = a.nc.SetWriteDeadline(time.Now().Add(infoTimeout))
	_, err := a.s.Conn.Write(wire.AppendExtended(nil, id, payload))
	return err
}
