package tracker

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"slices"
)

// The dfile of bttrack, one bencoded dictionary:
//
//	"completed": infohash -> number of downloads that came to their end
//	"peers":     infohash -> peer id -> "ip", "port", "left", "nat" (0: may be
//	             listed), "supportcrypto", "requirecrypto", "key", "given ip"
//	"allowed", "allowed_dir_files", "allowed_list": what bttrack had found in
//	             its folder or list
//
// bttrack refuses the whole file when a peer lacks one of its numbers. Times are
// not in it: the file's own is that of the peers.

// dictItem is a key of a dictionary with its value in bencoded form.
type dictItem struct {
	key   string
	value []byte
}

var errDfile = errors.New("not a dfile")

// parseDfile checks a dfile and calls fn for each torrent, with peers that have
// ttl seconds left. What fn is given is valid only during the call. It returns
// the keys that are not read here.
func parseDfile(b []byte, ttl int32, fn func(*torrentState)) (extra []dictItem, err error) {
	top, rest, err := next(bytes.TrimRight(b, "\r\n"), 0)
	if err != nil || top.kind != 'd' || len(rest) > 0 {
		return nil, errDfile
	}
	var peers, completed bvalue
	dictValues(top, func(key string, v bvalue, raw []byte) {
		switch key {
		case "peers":
			peers = v
		case "completed":
			completed = v
		default:
			extra = append(extra, dictItem{key, bytes.Clone(raw)})
		}
	})
	if peers.kind != 'd' && (peers.kind != 0 || len(top.raw) > 0) || completed.kind != 0 && completed.kind != 'd' {
		return nil, fmt.Errorf("%w: it has no peers", errDfile)
	}
	counts := map[string]uint64{}
	completed.items(func(ih string, n bvalue) { counts[ih] = uint64(n.int(math.MaxInt64)) })
	var t torrentState
	bad := 0
	peers.items(func(ih string, v bvalue) {
		if len(ih) != 20 || v.kind != 'd' {
			bad++
			return
		}
		t.infoHash, t.completed, t.peers = [20]byte([]byte(ih)), counts[ih], t.peers[:0]
		delete(counts, ih)
		v.items(func(id string, p bvalue) {
			if e, ok := parseDfilePeer(id, p, ttl); ok {
				t.peers = append(t.peers, e)
			} else {
				bad++
			}
		})
		fn(&t)
	})
	for ih, n := range counts { // without peers
		if len(ih) == 20 {
			fn(&torrentState{infoHash: [20]byte([]byte(ih)), completed: n})
		}
	}
	slices.SortFunc(extra, func(a, b dictItem) int { return cmp.Compare(a.key, b.key) })
	if bad > 0 {
		return extra, &skippedError{bad}
	}
	return extra, nil
}

// skippedError says that parts of a dfile made no sense; the others were taken.
type skippedError struct{ n int }

func (e *skippedError) Error() string {
	return fmt.Sprintf("%d of its torrents and peers make no sense", e.n)
}

// dictValues calls fn for each item of a dictionary, with the value's bytes too.
func dictValues(d bvalue, fn func(key string, v bvalue, raw []byte)) {
	for rest := d.raw; len(rest) > 0; {
		key, after, err := next(rest, 0)
		if err != nil {
			return // it has been checked
		}
		v, end, err := next(after, 0)
		if err != nil {
			return
		}
		fn(string(key.raw), v, after[:len(after)-len(end)])
		rest = end
	}
}

func parseDfilePeer(id string, v bvalue, ttl int32) (e entry, ok bool) {
	if len(id) != 20 || v.kind != 'd' {
		return e, false
	}
	var ip, given string
	var port int64
	var left, nat bvalue
	v.items(func(key string, item bvalue) {
		switch key {
		case "ip":
			ip = string(item.raw)
		case "given ip":
			given = string(item.raw)
		case "port":
			port = item.int(math.MaxUint16 + 1)
		case "left":
			left = item
		case "nat":
			nat = item
		case "supportcrypto", "requirecrypto":
			if item.int(1) == 1 {
				e.crypto |= cryptoBit(key)
			}
		}
	})
	addr, err := netip.ParseAddr(cmp.Or(given, ip))
	if err != nil {
		addr, err = netip.ParseAddr(ip) // what it gave may be a name
	}
	if err != nil || port == 0 || port > math.MaxUint16 || left.kind != 'i' || nat.int(1<<30) == 1<<30 {
		return e, false
	}
	e.key, e.id = makeKey(addr.WithZone("").Unmap(), uint16(port)), [20]byte([]byte(id))
	e.left, e.expires = left.int(math.MaxInt64), ttl
	return e, true
}

// dfileWriter writes a dfile. The first error ends the writing.
type dfileWriter struct {
	w   io.Writer
	buf []byte
	err error
}

func (d *dfileWriter) flush() {
	if d.err == nil {
		_, d.err = d.w.Write(d.buf)
	}
	d.buf = d.buf[:0]
}

// writeDfile writes the state of a server whose swarms are named in order.
func (s *Server) writeDfile(w io.Writer) error {
	type named struct {
		ih [20]byte
		w  *swarm
	}
	var all []named
	s.store.each(func(ih [20]byte, w *swarm) { all = append(all, named{ih, w}) })
	slices.SortFunc(all, func(a, b named) int { return bytes.Compare(a.ih[:], b.ih[:]) })
	d := &dfileWriter{w: w}
	d.buf = append(d.buf, 'd')
	extra := s.extra
	for len(extra) > 0 && extra[0].key < "completed" {
		d.item(extra[0])
		extra = extra[1:]
	}
	d.buf = append(d.buf, "9:completedd"...)
	now := s.second()
	var t torrentState
	for _, n := range all {
		if n.w.snapshot(&t, now) {
			d.buf = appendInt(append(append(d.buf, "20:"...), n.ih[:]...), int(t.completed))
		}
	}
	d.buf = append(d.buf, 'e')
	for len(extra) > 0 && extra[0].key < "peers" {
		d.item(extra[0])
		extra = extra[1:]
	}
	d.buf = append(d.buf, "5:peersd"...)
	for _, n := range all {
		if n.w.snapshot(&t, now) {
			t.infoHash = n.ih
			d.torrent(&t)
		}
	}
	d.buf = append(d.buf, 'e')
	for _, x := range extra {
		d.item(x)
	}
	d.buf = append(d.buf, 'e')
	d.flush()
	return d.err
}

func (d *dfileWriter) item(x dictItem) { d.buf = append(appendString(d.buf, x.key), x.value...) }

// torrent writes a torrent's peers, in the order of their ids. Of two that have
// the same, at two addresses, the file has room for one.
func (d *dfileWriter) torrent(t *torrentState) {
	slices.SortFunc(t.peers, func(a, b entry) int {
		return cmp.Or(bytes.Compare(a.id[:], b.id[:]), cmp.Compare(b.expires, a.expires))
	})
	b := append(append(append(d.buf, "20:"...), t.infoHash[:]...), 'd')
	for i := range t.peers {
		p := &t.peers[i]
		if i > 0 && p.id == t.peers[i-1].id {
			continue
		}
		b = append(append(append(b, "20:"...), p.id[:]...), "d2:ip"...)
		b = appendString(b, p.key.addr().String())
		left := int(p.left)
		if left < 0 { // unknown, which the file cannot say: it misses something
			left = 1
		}
		b = appendInt(append(b, "4:left"...), left)
		b = appendInt(append(b, "3:nati0e4:port"...), int(p.key.port()))
		b = appendInt(append(b, "13:requirecrypto"...), int(p.crypto>>1))
		b = appendInt(append(b, "13:supportcrypto"...), int(p.crypto&cryptoSupported))
		b = append(b, 'e')
	}
	d.buf = append(b, 'e')
	d.flush()
}
