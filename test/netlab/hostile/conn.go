package hostile

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"time"

	"distd/pkg/swarm/bitmap"
	"distd/pkg/swarm/wire"
)

// conn is a connection to a victim.
type conn struct {
	session *wire.Session
	victim  netip.Addr
	pieces  int
	w       *wire.Writer
	r       *wire.Reader
}

func (c *conn) flush(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.w.Pending():
			if c.w.Flush() != nil {
				return
			}
		}
	}
}

func (c *conn) claimAll() {
	if c.session.Fast {
		c.w.Send(wire.HaveAll)
	} else {
		all := bitmap.New(c.pieces)
		all.SetAll()
		c.w.SendBitfield(all)
	}
	c.w.Send(wire.Unchoke)
}

// Times of revealAndChoke: how long it is unchoked and choked.
const (
	openFor   = 200 * time.Millisecond
	closedFor = 300 * time.Millisecond
	revealed  = 4 // pieces at a time
)

// revealAndChoke tells of pieces, leaves just enough time to be asked for them,
// and chokes. It also wants pieces, so that a seed tells it of some and waits
// for it to pass them on.
func (c *conn) revealAndChoke(ctx context.Context) {
	if c.session.Fast {
		c.w.Send(wire.HaveNone)
	}
	c.w.Send(wire.Interested)
	for next := 0; ; {
		for range revealed {
			if next < c.pieces {
				c.w.SendIndex(wire.Have, uint32(next))
			}
			next++
		}
		c.w.Send(wire.Unchoke)
		if !pause(ctx, openFor) {
			return
		}
		c.w.Send(wire.Choke)
		if !pause(ctx, closedFor) {
			return
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// answer reads what the victim sends until the connection ends, and returns why
// it did. The first request is told of on standard output: "asked ADDRESS".
func (c *conn) answer(behaviour string) error {
	asked := false
	junk := make([]byte, wire.DefaultMaxRequest)
	_, _ = rand.Read(junk)
	var m wire.Message
	for {
		if err := c.r.Next(&m); err != nil {
			return err
		}
		if m.Type != wire.Request {
			continue
		}
		if !asked {
			asked = true
			fmt.Println("asked", c.victim)
		}
		switch behaviour {
		case BadBlocks:
			c.w.SendBlock(m.Block(), junk[:m.Length], nil)
		case ClaimsAll:
			if c.session.Fast {
				c.w.SendRequest(wire.Reject, m.Block())
			}
		}
	}
}
