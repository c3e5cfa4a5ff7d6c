package dht

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"

	"github.com/anacrolix/dht/v2/krpc"
)

// What fits into a reply beside its other parts.
const (
	replyNodes  = 8 // of each family
	replyValues = 800
)

// enqueue takes a query from the guard.
func (n *Node) enqueue(m *message, from netip.AddrPort) {
	select {
	case n.queries <- query{m, from}:
	default:
		n.refused.add(Busy, from)
	}
}

func (n *Node) answerAll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case q := <-n.queries:
			n.send(n.answer(q), q.from)
			n.meet(q)
		}
	}
}

// meet gets to know a node that has asked something.
func (n *Node) meet(q query) {
	if q.readOnly || n.book.asked(node{q.id, q.from}, n.now()) {
		return
	}
	select {
	case n.met <- rumour{addr: q.from}:
	default: // there will be another query
	}
}

func (n *Node) send(m *message, to netip.AddrPort) {
	v4, v6 := m.want4, m.want6
	b := m.appendPacket(make([]byte, 0, 512), v4, v6, to)
	_, _ = n.guard.WriteTo(b, net.UDPAddrFromAddrPort(to)) // a reply may get lost
}

// answer makes the reply to a query, or the error.
func (n *Node) answer(q query) *message {
	re := &message{kind: 'r', txn: q.txn, id: n.id}
	switch q.query {
	case "find_node":
		n.addNodes(re, q)
	case "get_peers":
		n.addNodes(re, q)
		re.token = n.tokens.issue(q.from.Addr(), n.now())
		re.peers = append(n.here(q.target, q.from), n.peers.get(q.target, n.now(), replyValues, func(a netip.Addr) bool {
			want4, want6 := q.wants()
			return (want4 && a.Is4() || want6 && a.Is6()) && n.zone.addr(a)
		})...)
	case "get":
		n.addNodes(re, q)
		re.token = n.tokens.issue(q.from.Addr(), n.now())
		n.addItem(re, q)
	case "announce_peer", "put":
		if !n.tokens.valid(q.token, q.from.Addr(), n.now()) {
			n.refused.add(BadToken, q.from)
			return failure(q, krpc.ErrorCodeProtocolError, "invalid token")
		}
		if q.query == "put" {
			return n.takePut(re, q)
		}
		return n.takePeer(re, q)
	}
	return re
}

// wants says which families the sender of a query can use (BEP 32).
func (q query) wants() (v4, v6 bool) {
	if q.want4 || q.want6 {
		return q.want4, q.want6
	}
	return q.from.Addr().Is4(), q.from.Addr().Is6()
}

func (n *Node) addNodes(re *message, q query) {
	re.want4, re.want6 = q.wants()
	for _, want := range []struct{ yes, is4 bool }{{re.want4, true}, {re.want6, false}} {
		if want.yes {
			re.nodes = append(re.nodes, n.book.nearest(q.target, replyNodes, n.now(), func(a netip.AddrPort) bool {
				return a.Addr().Is4() == want.is4 && a != q.from
			})...)
		}
	}
}

// addItem adds what is stored; of a mutable item only the number, if the sender has it.
func (n *Node) addItem(re *message, q query) {
	st := n.items.get(q.target, n.now())
	if st == nil {
		return
	}
	if st.mutable {
		re.seq = &st.item.Seq
		if q.seq != nil && *q.seq >= st.item.Seq {
			return
		}
		re.key, re.sig, re.signed = &st.item.Key, st.item.Sig, true
	}
	re.value = st.item.Value
}

func (n *Node) takePeer(re *message, q query) *message {
	peer := netip.AddrPortFrom(q.from.Addr(), q.port)
	if q.implied {
		peer = q.from
	}
	fresh, ok := n.peers.add(q.target, peer, n.now())
	if !ok {
		n.refused.add(Full, q.from)
		return failure(q, krpc.ErrorCodeServerError, "no room for more peers")
	}
	if fresh {
		n.tellKeepers(q.target, peer)
	}
	return re
}

type refusedItem struct {
	err  error
	why  Reason
	code int64
}

// refusals are the errors of BEP 44, and what they are counted as.
var refusals = []refusedItem{
	{ErrTooLarge, BadValue, krpc.ErrorCodeMessageValueFieldTooBig},
	{ErrSalt, BadValue, krpc.ErrorCodeSaltFieldTooBig},
	{ErrEncoding, BadValue, krpc.ErrorCodeProtocolError},
	{ErrSignature, BadSignature, krpc.ErrorCodeInvalidSignature},
	{ErrOld, OldSeq, krpc.ErrorCodeSequenceNumberLessThanCurrent},
	{errCAS, BadCAS, krpc.ErrorCodeCasHashMismatched},
	{errFull, Full, krpc.ErrorCodeServerError},
}

func (n *Node) takePut(re *message, q query) *message {
	if err := n.store(q); err != nil {
		i := refusal(err)
		n.refused.add(refusals[i].why, q.from)
		return failure(q, refusals[i].code, err.Error())
	}
	return re
}

// refusal returns the place of an error in refusals.
func refusal(err error) int {
	return slices.IndexFunc(refusals, func(r refusedItem) bool { return errors.Is(err, r.err) })
}

func reasonOf(err error) Reason { return refusals[refusal(err)].why }

func failure(q query, code int64, text string) *message {
	return &message{kind: 'e', txn: q.txn, code: code, text: []byte(text)}
}
