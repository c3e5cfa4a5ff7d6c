package node

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/dscp"
	"distd/internal/limit"
	"distd/internal/serve"
)

// limits bound the node's traffic. They change while it runs, by a reload or by
// `distd limit`.
type limits struct {
	node rates

	mu       sync.Mutex
	channels map[string]*rates

	marked   atomic.Bool // some connections may have a DSCP mark
	markOnce sync.Once
}

// rates are the limits of the node or of one channel.
type rates struct{ up, down limit.Bucket }

// channel is the limits of a channel, which may be of one that is not here yet.
func (l *limits) channel(name string) *rates {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of(name)
}

// of is channel for who holds the lock.
func (l *limits) of(name string) *rates {
	r := l.channels[name]
	if r == nil {
		if l.channels == nil {
			l.channels = map[string]*rates{}
		}
		r = new(rates)
		l.channels[name] = r
	}
	return r
}

// set takes over the rates of a configuration.
func (l *limits) set(cfg *config.Config) error {
	up, err := config.ChannelRates("channel_up", cfg.ChannelUp)
	if err != nil {
		return err
	}
	down, err := config.ChannelRates("channel_down", cfg.ChannelDown)
	if err != nil {
		return err
	}
	l.node.up.Set(int64(cfg.Up))
	l.node.down.Set(int64(cfg.Down))
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, rs := range []map[string]config.Rate{up, down} {
		for name := range rs {
			l.of(name)
		}
	}
	for name, r := range l.channels {
		r.up.Set(int64(up[name]))
		r.down.Set(int64(down[name]))
	}
	return nil
}

// upOf limits the content of a channel that is served over HTTP.
func (n *Node) upOf(channel string) serve.Limiter {
	return limit.All{&n.limits.channel(channel).up, &n.limits.node.up}
}

// tune marks a connection as the configuration wants it.
func (n *Node) tune(c net.Conn) {
	value, err := dscp.Parse(n.cfg.Load().DSCP)
	if err == nil && value == dscp.Default && !n.limits.marked.Load() {
		return
	}
	n.limits.marked.Store(true)
	sc, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	var raw syscall.RawConn
	if raw, err = sc.SyscallConn(); err == nil {
		err = dscp.Mark(raw, value)
	}
	if err != nil {
		n.limits.markOnce.Do(func() {
			n.log.Warn("connections cannot be marked (setting dscp); this is said once", zap.Error(err))
		})
	}
}

// relimit takes over the limits of a configuration for all that is under way.
func (n *Node) relimit(cfg *config.Config) error {
	if err := n.limits.set(cfg); err != nil {
		return err
	}
	if n.engine != nil {
		n.engine.SetMaxConns(cfg.MaxPeers, cfg.PerRelease)
		n.engine.Retune()
	}
	return nil
}
