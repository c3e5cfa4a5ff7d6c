package tracker

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// Bounds of what a tracker may answer.
const (
	maxResponse    = 1 << 20
	maxPeersTaken  = 5000
	maxWaitSeconds = 24 * 3600
	maxTrackerID   = 256
)

// Response is what a tracker answered to an announce.
type Response struct {
	// Interval is what the tracker asks its peers to wait between announces;
	// MinInterval the least it allows, 0 when it did not say.
	Interval, MinInterval time.Duration
	Seeds, Leeches        int
	Peers                 []netip.AddrPort
	Warning               string
	trackerID             string
}

// FailureError is a tracker's refusal.
type FailureError struct {
	Reason string
	// RetryIn is how long not to ask again (BEP 31), 0 when the tracker did not
	// say. Never is set when it does not want to be asked again at all.
	RetryIn time.Duration
	Never   bool
}

func (e *FailureError) Error() string { return "tracker refused: " + e.Reason }

// parseResponse reads the bencoded answer of an HTTP tracker. Unknown keys are
// ignored, and peers that cannot be connected to. A refusal is returned as a
// *FailureError.
func parseResponse(b []byte) (*Response, error) {
	v, _, err := next(b, 0)
	if err != nil || v.kind != 'd' {
		return nil, fmt.Errorf("answer is %w: %s", errBencode, clean(b[:min(len(b), 40)]))
	}
	var r Response
	var fail *FailureError
	var retry bvalue
	v.items(func(key string, item bvalue) {
		switch key {
		case "failure reason":
			fail = &FailureError{Reason: item.text()}
		case "retry in":
			retry = item
		default:
			r.set(key, item)
		}
	})
	if fail != nil {
		fail.Never = retry.kind == 's' && string(retry.raw) == "never"
		fail.RetryIn = time.Duration(retry.int(maxWaitSeconds/60)) * time.Minute
		return nil, fail
	}
	return &r, nil
}

func (r *Response) set(key string, item bvalue) {
	switch key {
	case "warning message":
		r.Warning = item.text()
	case "interval":
		r.Interval = time.Duration(item.int(maxWaitSeconds)) * time.Second
	case "min interval":
		r.MinInterval = time.Duration(item.int(maxWaitSeconds)) * time.Second
	case "complete":
		r.Seeds = int(item.int(1 << 30))
	case "incomplete":
		r.Leeches = int(item.int(1 << 30))
	case "tracker id":
		if len(item.raw) <= maxTrackerID {
			r.trackerID = string(item.raw)
		}
	case "peers":
		r.Peers = appendPeers(r.Peers, item, 4)
	case "peers6":
		r.Peers = appendPeers(r.Peers, item, 16)
	}
}

// appendPeers takes the peers of a compact string, with addresses of size
// bytes, or of a list of dictionaries.
func appendPeers(dst []netip.AddrPort, v bvalue, size int) []netip.AddrPort {
	switch v.kind {
	case 's':
		return appendCompact(dst, v.raw, size)
	case 'l':
		v.items(func(_ string, peer bvalue) {
			if peer.kind == 'd' {
				dst = appendDictPeer(dst, peer)
			}
		})
	}
	return dst
}

func appendDictPeer(dst []netip.AddrPort, peer bvalue) []netip.AddrPort {
	var addr netip.Addr
	var port int64
	peer.items(func(key string, item bvalue) {
		switch key {
		case "ip":
			if item.kind == 's' && len(item.raw) <= 64 {
				addr, _ = netip.ParseAddr(string(item.raw)) // names are not looked up
			}
		case "port":
			port = item.int(1 << 16)
		}
	})
	if port > 65535 {
		return dst
	}
	return appendPeer(dst, addr, uint16(port))
}

// appendCompact takes the peers of BEP 23 (size 4) or BEP 7 (size 16). What
// follows the last whole one is ignored.
func appendCompact(dst []netip.AddrPort, b []byte, size int) []netip.AddrPort {
	for ; len(b) >= size+2; b = b[size+2:] {
		addr, _ := netip.AddrFromSlice(b[:size])
		dst = appendPeer(dst, addr, binary.BigEndian.Uint16(b[size:]))
	}
	return dst
}

func appendPeer(dst []netip.AddrPort, addr netip.Addr, port uint16) []netip.AddrPort {
	addr = addr.WithZone("").Unmap()
	if !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast() || port == 0 || len(dst) >= maxPeersTaken {
		return dst
	}
	return append(dst, netip.AddrPortFrom(addr, port))
}
