package node

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notify tells systemd of the service's state; without systemd it does
// nothing, and that systemd did not hear it changes nothing here.
func notify(state string) { _, _ = daemon.SdNotify(false, state) }

// watchdog tells systemd that the node lives, as often as the unit asks, while
// the parts that could hang still answer.
func (n *Node) watchdog(ctx context.Context) error {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	tick := time.NewTicker(interval / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			n.Status() // takes every lock that a stuck part would hold
			notify("WATCHDOG=1")
		}
	}
}
