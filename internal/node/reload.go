package node

import (
	"errors"

	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/hook"
)

// Reload takes over the settings that can change while the node runs, and
// reads the certificates and passwords again.
func (n *Node) Reload(cfg *config.Config) error {
	if cfg.Hook != "" {
		if err := hook.Check(cfg.Hook); err != nil {
			return err
		}
	}
	old := n.cfg.Load()
	next := *old
	next.Hook, next.HookTimeout, next.OnHookFailure = cfg.Hook, cfg.HookTimeout, cfg.OnHookFailure
	next.Keep, next.Expires, next.MaxDelete, next.LogLevel = cfg.Keep, cfg.Expires, cfg.MaxDelete, cfg.LogLevel
	next.KeepAge, next.KeepBytes, next.MinFree = cfg.KeepAge, cfg.KeepBytes, cfg.MinFree
	next.Scrub, next.ScrubRate, next.ScrubRepair = cfg.Scrub, cfg.ScrubRate, cfg.ScrubRepair
	next.Up, next.Down, next.WANDown, next.ChannelUp, next.ChannelDown = cfg.Up, cfg.Down, cfg.WANDown, cfg.ChannelUp, cfg.ChannelDown
	next.MaxPeers, next.PerRelease, next.DSCP, next.Reuse, next.Deltas, next.Inline = cfg.MaxPeers, cfg.PerRelease, cfg.DSCP, cfg.Reuse, cfg.Deltas, cfg.Inline
	next.Spare = cfg.Spare
	n.cfg.Store(&next)
	n.wantSpares()
	n.scrub.wakeUp()
	select {
	case n.rules <- struct{}{}:
	default:
	}
	if err := n.relimit(&next); err != nil {
		return err
	}
	for _, key := range config.Changed(&next, cfg) {
		n.log.Warn("a changed setting takes effect at the next restart only", zap.String("setting", key))
	}
	err := n.outward.Reload()
	if n.cert != nil {
		err = errors.Join(err, n.cert.Reload())
	}
	return err
}
