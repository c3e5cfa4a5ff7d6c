package node

import (
	"maps"
	"net"
	"slices"
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
	log  *zap.Logger
	node rates
	wan  rate // of what comes from mirrors, besides node.down

	mu       sync.Mutex
	channels map[string]*rates

	marked   atomic.Bool // some connections may have a DSCP mark
	markOnce sync.Once
}

// rates are the limits of the node or of one channel.
type rates struct{ up, down rate }

// init names the limits for the log.
func (l *limits) init(log *zap.Logger) {
	l.log = log
	l.node.up.init(log, "", "up")
	l.node.down.init(log, "", "down")
	l.wan.init(log, "", "wan_down")
}

// stop ends what follows timetables.
func (l *limits) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range append(slices.Collect(maps.Values(l.channels)), &l.node) {
		r.up.Stop()
		r.down.Stop()
	}
	l.wan.Stop()
}

// fromMirrors limits what comes from mirrors for a channel.
func (l *limits) fromMirrors(channel string) limit.All {
	return limit.All{&l.wan.Bucket, &l.channel(channel).down.Bucket, &l.node.down.Bucket}
}

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
		r.up.init(l.log, name, "up")
		r.down.init(l.log, name, "down")
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
	l.node.up.follow(cfg.Up)
	l.node.down.follow(cfg.Down)
	l.wan.follow(cfg.WANDown)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, rs := range []map[string]config.Timetable{up, down} {
		for name := range rs {
			l.of(name)
		}
	}
	for name, r := range l.channels {
		r.up.follow(up[name])
		r.down.follow(down[name])
	}
	return nil
}

// upOf limits the content of a channel that is served over HTTP.
func (n *Node) upOf(channel string) serve.Limiter {
	return limit.All{&n.limits.channel(channel).up.Bucket, &n.limits.node.up.Bucket}
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
