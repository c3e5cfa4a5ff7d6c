package dht

import (
	"encoding/binary"
	"net/netip"
)

// Bounds of a packet's parts, in bytes and entries.
const (
	maxPacket  = 2048 // larger ones would come in fragments
	maxTxn     = 32
	maxToken   = 128
	maxNodes   = 32  // of one family in one reply
	maxErrText = 128 // what is kept of an error's text
	maxValue   = 1000
	maxSalt    = 64
)

// node is a node of the DHT.
type node struct {
	id   [20]byte
	addr netip.AddrPort
}

// message is a checked packet of KRPC. Slices share the packet's memory.
type message struct {
	txn      []byte
	kind     byte // 'q', 'r' or 'e'
	query    string
	readOnly bool
	id       [20]byte // not of an error

	// Of queries.
	target       [20]byte // info_hash or target
	port         uint16
	implied      bool
	want4, want6 bool // neither: not said
	salt         []byte
	cas          *int64

	// Of queries and replies.
	token  []byte
	value  []byte // bencoded
	key    *[32]byte
	sig    [64]byte
	signed bool
	seq    *int64

	// Of replies.
	nodes []node
	peers []netip.AddrPort

	// Of errors.
	code int64
	text []byte
}

// parse checks a packet. The second result is why it is refused, or "".
func parse(b []byte) (*message, Reason) {
	m := new(message)
	var y, q, args, body, fault []byte
	r := reader{b: b}
	ok := r.dict(func(key []byte) (ok bool) {
		switch string(key) {
		case "t":
			m.txn, ok = r.str()
		case "y":
			y, ok = r.str()
		case "q":
			q, ok = r.str()
		case "ro":
			var n int64
			n, ok = r.num()
			m.readOnly = n == 1
		case "a":
			args, ok = r.raw()
		case "r":
			body, ok = r.raw()
		case "e":
			fault, ok = r.raw()
		default:
			ok = r.skip(maxDepth)
		}
		return ok
	})
	if !ok || !r.end() || len(m.txn) == 0 || len(m.txn) > maxTxn || len(y) != 1 {
		return nil, Malformed
	}
	m.kind, m.query = y[0], string(q)
	switch m.kind {
	case 'q':
		return m.asQuery(args)
	case 'r':
		ok = m.parseReply(body)
	case 'e':
		ok = m.parseError(fault)
	default:
		ok = false
	}
	if !ok {
		return nil, Malformed
	}
	return m, ""
}

// asQuery checks the arguments of a query.
func (m *message) asQuery(args []byte) (*message, Reason) {
	has, ok := m.parseArgs(args)
	if !ok || !has["id"] {
		return nil, Malformed
	}
	switch m.query {
	case "ping":
	case "find_node", "get":
		ok = has["target"]
	case "get_peers":
		ok = has["info_hash"]
	case "announce_peer":
		ok = has["info_hash"] && has["token"] && (m.implied || m.port != 0)
	case "put":
		ok = has["token"] && m.value != nil && (m.key == nil || m.signed && m.seq != nil)
	default:
		return nil, UnknownQuery
	}
	if !ok {
		return nil, Malformed
	}
	return m, ""
}

// parseArgs reads the dictionary "a". target and info_hash are one field here,
// and which one counts depends on the query.
func (m *message) parseArgs(b []byte) (has map[string]bool, ok bool) {
	has = make(map[string]bool, 4)
	ofTorrent := m.query == "get_peers" || m.query == "announce_peer"
	var ignored [20]byte
	r := reader{b: b}
	ok = r.dict(func(key []byte) (ok bool) {
		switch string(key) {
		case "id":
			ok = r.fixed(m.id[:])
		case "target", "info_hash":
			if (string(key) == "info_hash") == ofTorrent {
				ok = r.fixed(m.target[:])
			} else {
				ok = r.fixed(ignored[:])
			}
		case "port":
			var n int64
			n, ok = r.num()
			ok = ok && n >= 0 && n <= 65535
			m.port = uint16(n)
		case "implied_port":
			var n int64
			n, ok = r.num()
			m.implied = n != 0
		case "want":
			ok = r.list(func() bool {
				s, ok := r.str()
				m.want4 = m.want4 || string(s) == "n4"
				m.want6 = m.want6 || string(s) == "n6"
				return ok
			})
		case "salt":
			m.salt, ok = r.str()
		case "cas":
			m.cas, ok = r.numPtr()
		default:
			ok = m.parseCommon(&r, key)
		}
		if ok {
			switch string(key) {
			case "id", "target", "info_hash", "token":
				has[string(key)] = true
			}
		}
		return ok
	})
	return has, ok && r.end()
}

// parseCommon reads what both queries and replies may have.
func (m *message) parseCommon(r *reader, key []byte) (ok bool) {
	switch string(key) {
	case "token":
		m.token, ok = r.str()
		return ok && len(m.token) <= maxToken
	case "v":
		m.value, ok = r.raw()
	case "k":
		m.key = new([32]byte)
		ok = r.fixed(m.key[:])
	case "sig":
		m.signed, ok = true, r.fixed(m.sig[:])
	case "seq":
		m.seq, ok = r.numPtr()
	default:
		ok = r.skip(maxDepth)
	}
	return ok
}

func (m *message) parseReply(b []byte) bool {
	hasID := false
	r := reader{b: b}
	ok := r.dict(func(key []byte) bool {
		switch string(key) {
		case "id":
			hasID = r.fixed(m.id[:])
			return hasID
		case "nodes":
			return m.parseNodes(&r, 4)
		case "nodes6":
			return m.parseNodes(&r, 16)
		case "values":
			return r.list(func() bool {
				s, ok := r.str()
				if !ok || len(s) != 6 && len(s) != 18 {
					return false
				}
				m.peers = append(m.peers, compactAddr(s))
				return true
			})
		}
		return m.parseCommon(&r, key)
	})
	return ok && r.end() && hasID && len(m.value) <= maxValue
}

func (m *message) parseNodes(r *reader, width int) bool {
	s, ok := r.str()
	each := 20 + width + 2
	if !ok || len(s)%each != 0 || len(s)/each > maxNodes {
		return false
	}
	for ; len(s) > 0; s = s[each:] {
		m.nodes = append(m.nodes, node{id: [20]byte(s), addr: compactAddr(s[20:each])})
	}
	return true
}

func (m *message) parseError(b []byte) (ok bool) {
	r := reader{b: b}
	if !r.next('l') {
		return false
	}
	if m.code, ok = r.num(); !ok {
		return false
	}
	if m.text, ok = r.str(); !ok {
		return false
	}
	m.text = m.text[:min(len(m.text), maxErrText)]
	return r.next('e') && r.end()
}

// fixed reads a string of just len(into) bytes.
func (r *reader) fixed(into []byte) bool {
	s, ok := r.str()
	return ok && copy(into, s) == len(into) && len(s) == len(into)
}

func (r *reader) numPtr() (*int64, bool) {
	n, ok := r.num()
	return &n, ok
}

// compactAddr reads the compact form of BEP 5 and 32; IPv4 inside of IPv6 is unmapped.
func compactAddr(s []byte) netip.AddrPort {
	a, _ := netip.AddrFromSlice(s[:len(s)-2])
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(s[len(s)-2:]))
}

func appendCompact(b []byte, a netip.AddrPort) []byte {
	b = append(b, a.Addr().AsSlice()...)
	return binary.BigEndian.AppendUint16(b, a.Port())
}

// appendNodes appends the keys nodes and nodes6, each if its family is asked for.
func appendNodes(b []byte, nodes []node, v4, v6 bool) []byte {
	for _, family := range []struct {
		key  string
		want bool
		is4  bool
	}{{"nodes", v4, true}, {"nodes6", v6, false}} {
		if !family.want {
			continue
		}
		var list []byte
		for _, n := range nodes {
			if n.addr.Addr().Is4() == family.is4 {
				list = append(list, n.id[:]...)
				list = appendCompact(list, n.addr)
			}
		}
		b = appendStr(b, family.key)
		b = appendStr(b, list)
	}
	return b
}

// appendValues appends the key values, if there are any.
func appendValues(b []byte, peers []netip.AddrPort) []byte {
	if len(peers) == 0 {
		return b
	}
	b = append(b, "6:valuesl"...)
	var compact [18]byte
	for _, p := range peers {
		b = appendStr(b, appendCompact(compact[:0], p))
	}
	return append(b, 'e')
}

// appendReply appends the dictionary "r".
func (m *message) appendReply(b []byte, v4, v6 bool) []byte {
	b = append(b, "d2:id"...)
	b = appendStr(b, m.id[:])
	if m.key != nil {
		b = append(b, "1:k"...)
		b = appendStr(b, m.key[:])
	}
	b = appendNodes(b, m.nodes, v4, v6)
	if m.seq != nil {
		b = append(b, "3:seq"...)
		b = appendNum(b, *m.seq)
	}
	if m.signed {
		b = append(b, "3:sig"...)
		b = appendStr(b, m.sig[:])
	}
	if m.token != nil {
		b = append(b, "5:token"...)
		b = appendStr(b, m.token)
	}
	if m.value != nil {
		b = append(b, "1:v"...)
		b = append(b, m.value...)
	}
	b = appendValues(b, m.peers)
	return append(b, 'e')
}

// appendPacket appends a reply or an error as a packet. to, if valid, is told to
// its receiver as the address that it has (BEP 42).
func (m *message) appendPacket(b []byte, v4, v6 bool, to netip.AddrPort) []byte {
	b = append(b, 'd')
	if m.kind == 'e' {
		b = append(b, "1:el"...)
		b = appendNum(b, m.code)
		b = appendStr(b, m.text)
		b = append(b, 'e')
	}
	if to.IsValid() {
		b = append(b, "2:ip"...)
		var compact [18]byte
		b = appendStr(b, appendCompact(compact[:0], to))
	}
	if m.kind == 'r' {
		b = append(b, "1:r"...)
		b = m.appendReply(b, v4, v6)
	}
	b = append(b, "1:t"...)
	b = appendStr(b, m.txn)
	b = append(b, "1:y1:"...)
	return append(b, m.kind, 'e')
}
