package discover

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// zone is what a name server of the test knows: by the name that is asked for, in
// lower case and with a dot at its end.
type zone map[string]answer

type answer struct {
	rcode   dnsmessage.RCode
	cname   string // the records are those of this name
	records []dnsmessage.SRVResource
	raw     []byte // sent in place of all else, behind the question's number
	silent  bool
}

func srv(priority, weight, port uint16, target string) dnsmessage.SRVResource {
	return dnsmessage.SRVResource{Priority: priority, Weight: weight, Port: port, Target: dnsmessage.MustNewName(target)}
}

// nameServer serves a zone over UDP and TCP until the test ends.
type nameServer struct {
	udp      net.PacketConn
	tcp      net.Listener
	zone     zone
	overTCP  atomic.Int64 // answers
	question chan string  // what was asked, as far as there is room
}

func serve(t *testing.T, z zone) *nameServer {
	t.Helper()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{udp: udp, tcp: tcp, zone: z, question: make(chan string, 100)}
	done := make(chan struct{}, 2)
	go func() { s.serveUDP(); done <- struct{}{} }()
	go func() { s.serveTCP(); done <- struct{}{} }()
	t.Cleanup(func() {
		_, _ = udp.Close(), tcp.Close()
		<-done
		<-done
	})
	return s
}

// resolver asks this server alone.
func (s *nameServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		addr := s.udp.LocalAddr()
		if strings.HasPrefix(network, "tcp") {
			addr = s.tcp.Addr()
		}
		return new(net.Dialer).DialContext(ctx, network, addr.String())
	}}
}

func (s *nameServer) serveUDP() {
	buf := make([]byte, 2048)
	for {
		n, from, err := s.udp.ReadFrom(buf)
		if err != nil {
			return
		}
		if out := s.answer(buf[:n], 1232); out != nil { // the most that Go's resolver says it takes
			_, _ = s.udp.WriteTo(out, from)
		}
	}
}

func (s *nameServer) serveTCP() {
	for {
		c, err := s.tcp.Accept()
		if err != nil {
			return
		}
		var head [2]byte
		if _, err := io.ReadFull(c, head[:]); err == nil {
			in := make([]byte, binary.BigEndian.Uint16(head[:]))
			if _, err := io.ReadFull(c, in); err == nil {
				if out := s.answer(in, 1<<16-1); out != nil {
					s.overTCP.Add(1)
					_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
				}
			}
		}
		_ = c.Close()
	}
}

// answer builds the answer to a question; nil for none. One that is longer than
// most is sent without records and marked as cut.
func (s *nameServer) answer(in []byte, most int) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(in)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil || q.Type != dnsmessage.TypeSRV {
		return nil
	}
	select {
	case s.question <- q.Name.String():
	default:
	}
	a, known := s.zone[strings.ToLower(q.Name.String())]
	switch {
	case a.silent:
		return nil
	case a.raw != nil:
		return append(append([]byte(nil), in[:2]...), a.raw...)
	case !known:
		a.rcode = dnsmessage.RCodeNameError
	}
	out := pack(h.ID, q, a, false)
	if len(out) > most {
		out = pack(h.ID, q, answer{rcode: a.rcode}, true)
	}
	return out
}

func pack(id uint16, q dnsmessage.Question, a answer, cut bool) []byte {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, Response: true, Authoritative: true, RecursionAvailable: true, Truncated: cut, RCode: a.rcode},
		Questions: []dnsmessage.Question{q},
	}
	name := q.Name
	if a.cname != "" {
		to := dnsmessage.MustNewName(a.cname)
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: name, Class: q.Class, TTL: 60}, Body: &dnsmessage.CNAMEResource{CNAME: to}})
		name = to
	}
	for _, r := range a.records {
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: name, Class: q.Class, TTL: 60}, Body: &r})
	}
	out, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return out
}
