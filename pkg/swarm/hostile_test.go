package swarm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"distd/pkg/swarm/bitmap"
	"distd/pkg/swarm/wire"
)

// enemy is a peer made by hand.
type enemy struct {
	t    *testing.T
	nc   net.Conn
	w    *wire.Writer
	r    *wire.Reader
	con  *content
	fast bool
}

func newEnemy(t *testing.T, victim *node, con *content) *enemy {
	t.Helper()
	return newEnemyCalled(t, "evil", victim, con)
}

func newEnemyCalled(t *testing.T, id string, victim *node, con *content) *enemy {
	t.Helper()
	nc, err := net.Dial("tcp", victim.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	return enemyOn(t, nc, [20]byte([]byte(id + "peerpeerpeerpeerpeer")[:20]), con)
}

func (e *enemy) flush() { _ = e.w.Flush() }

// raw sends a message as it is given.
func (e *enemy) raw(kind wire.Type, payload ...byte) {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload)+1))
	_, _ = e.nc.Write(append(append(b, byte(kind)), payload...))
}

// requested waits for the next request of the victim.
func (e *enemy) requested() wire.Block {
	var m wire.Message
	_ = e.nc.SetReadDeadline(time.Now().Add(5 * time.Second))
	for {
		if err := e.r.Next(&m); err != nil {
			e.t.Errorf("no request came: %v", err)
			return wire.Block{Length: 1}
		}
		if m.Type == wire.Request {
			return m.Block()
		}
	}
}

// closed reports whether the victim hangs up within d.
func (e *enemy) closed(d time.Duration) bool {
	_ = e.nc.SetReadDeadline(time.Now().Add(d))
	_, err := io.Copy(io.Discard, e.nc)
	return !timedOut(err)
}

func timedOut(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func words(v ...uint32) (b []byte) {
	for _, x := range v {
		b = binary.BigEndian.AppendUint32(b, x)
	}
	return b
}

func TestHostilePeers(t *testing.T) {
	con := newContent(t, 1<<20+500, 64<<10)
	for _, c := range []struct {
		name   string
		do     func(e *enemy)
		closes bool
	}{
		{"message of 4 GiB", func(e *enemy) { _, _ = e.nc.Write([]byte{0xff, 0xff, 0xff, 0xff, 7}) }, true},
		{"extended message of 10 MiB", func(e *enemy) { _, _ = e.nc.Write(append(words(10<<20), 20, 1)) }, true},
		{"have without a piece", func(e *enemy) { e.raw(wire.Have, 1, 2) }, true},
		{"have of a piece that is not there", func(e *enemy) { e.raw(wire.Have, words(1000)...) }, true},
		{"bitfield of a wrong length", func(e *enemy) { e.raw(wire.Bitfield, 1) }, true},
		{"bitfields without end", func(e *enemy) {
			for range con.layout.NumPieces() + maxTold + 1 {
				e.w.SendBitfield(bitmap.New(con.layout.NumPieces()))
			}
			e.flush()
		}, true},
		{"request beyond the piece", func(e *enemy) { e.raw(wire.Request, words(0, 60<<10, 16<<10)...) }, true},
		{"request of 1 MiB", func(e *enemy) { e.raw(wire.Request, words(0, 0, 1<<20)...) }, true},
		{"requests for what is not here", func(e *enemy) {
			for range maxRefused + 10 {
				e.w.SendRequest(wire.Request, wire.Block{Index: 16, Length: 100})
			}
			e.flush()
		}, true},
		{"unsolicited pieces", func(e *enemy) {
			data := make([]byte, 16<<10)
			for range maxUnwanted + 1 {
				e.w.SendBlock(wire.Block{Index: 5, Length: 16 << 10}, data, nil)
			}
			e.flush()
		}, true},
		{"piece of a wrong length", func(e *enemy) {
			e.w.Send(wire.HaveAll)
			e.w.Send(wire.Unchoke)
			e.flush()
			b := e.requested()
			e.raw(wire.Piece, append(words(b.Index, b.Begin), bytes.Repeat([]byte{1}, 20<<10)...)...)
		}, true},
		{"handshake that is no dictionary", func(e *enemy) { e.raw(wire.Extended, 0, 'x') }, true},
		{"metadata request out of range", func(e *enemy) {
			e.raw(wire.Extended, append([]byte{extMetadata}, "d8:msg_typei0e5:piecei99999999999eee"...)...)
		}, true},
		{"documents requested out of range", func(e *enemy) {
			e.raw(wire.Extended, append([]byte{extDocs}, "d8:msg_typei0e5:piecei99999999999eee"...)...)
		}, true},
		{"documents of garbage", func(e *enemy) { e.raw(wire.Extended, extDocs, 'x') }, true},
		{"documents that nobody asked for", func(e *enemy) {
			for i := range 100 {
				e.w.SendExtended(extDocs, dataMsg(0, 5+i, make([]byte, 5+i)))
				e.w.SendExtended(extDocs, rejectMsg(i))
			}
			e.flush()
		}, false},
		{"pex of garbage", func(e *enemy) { e.raw(wire.Extended, append([]byte{extPEX}, "d5:added3:abce"...)...) }, false},
		{"unknown messages and a keep-alive", func(e *enemy) {
			e.raw(99, 1, 2, 3)
			_, _ = e.nc.Write(make([]byte, 4))
			e.raw(wire.Extended, 77, 'x')
		}, false},
		{"chokes and unchokes without end", func(e *enemy) {
			e.w.Send(wire.HaveAll)
			for range 1000 {
				e.w.Send(wire.Unchoke)
				e.w.Send(wire.Choke)
			}
			e.flush()
		}, false},
		{"flood of requests, never reads", func(e *enemy) {
			for i := range 5000 {
				e.w.SendRequest(wire.Request, wire.Block{Index: uint32(i % 8), Length: 16 << 10})
			}
			e.flush()
		}, false},
		{"rejects everything", func(e *enemy) {
			e.w.Send(wire.HaveAll)
			e.w.Send(wire.Unchoke)
			e.flush()
			for range 4 {
				e.w.SendRequest(wire.Reject, e.requested())
				e.flush()
			}
		}, false},
		{"takes requests and never answers", func(e *enemy) {
			e.w.Send(wire.HaveAll)
			e.w.Send(wire.Unchoke)
			e.flush()
			e.requested()
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			victim := startNode(t, con, nodeOptions{})
			for i := range 8 {
				if err := victim.tor.Deliver(t.Context(), "m", i, con.piece(i)); err != nil {
					t.Fatal(err)
				}
			}
			e := newEnemy(t, victim, con)
			c.do(e)
			if c.closes && !e.closed(10*time.Second) {
				t.Error("the connection is still open")
			}
			seed := startNode(t, con, nodeOptions{seed: true, directing: true})
			victim.knows(seed)
			victim.wait(30 * time.Second)
			con.same(t, victim.dir)
			if !c.closes && e.fast {
				_ = e.nc.Close()
			}
		})
	}
}

func TestSlowHandshake(t *testing.T) {
	con := newContent(t, 100<<10, 64<<10)
	victim := startNode(t, con, nodeOptions{change: func(c *Config) { c.HandshakeTimeout = 200 * time.Millisecond }})
	for _, first := range []string{"", "\x13BitTorrent prot", "\x13BitTorrent protocol\x00\x00\x00\x00\x00\x00\x00\x00wrong infohash here!", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"} {
		nc, err := net.Dial("tcp", victim.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = nc.Write([]byte(first))
		_ = nc.SetReadDeadline(time.Now().Add(5 * time.Second))
		b, err := io.ReadAll(nc)
		if timedOut(err) {
			t.Errorf("connection that began with %q is still open", first)
		}
		if len(b) > 0 {
			t.Errorf("connection that began with %q was answered %q", first, b)
		}
		_ = nc.Close()
	}
}
