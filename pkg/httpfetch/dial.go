package httpfetch

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"
)

// dialTCP connects to an address and says how long the handshake took. Of a host
// with several addresses only the one that answered counts: those of a family that
// is dead are waited for before the others are tried, and that is no distance.
func (c *Client) dialTCP(ctx context.Context, addr string) (net.Conn, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.DialTimeout)
	defer cancel()
	begun := attempts{start: time.Now(), at: map[string]time.Time{}}
	if c.cfg.Dial != nil {
		conn, err := c.cfg.Dial(ctx, c.cfg.Network, addr)
		return conn, time.Since(begun.start), err
	}
	d := net.Dialer{Control: func(_, address string, r syscall.RawConn) error {
		begun.note(address)
		c.congest(r)
		return nil
	}}
	conn, err := d.DialContext(ctx, c.cfg.Network, addr)
	if err != nil {
		return nil, 0, err
	}
	return conn, begun.since(conn.RemoteAddr().String()), nil
}

// attempts notes when connecting to each address of a host began.
type attempts struct {
	start time.Time
	mu    sync.Mutex // two may be tried at once
	at    map[string]time.Time
}

func (a *attempts) note(addr string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at[addr] = time.Now()
}

func (a *attempts) since(addr string) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t, ok := a.at[addr]; ok {
		return time.Since(t)
	}
	return time.Since(a.start)
}
