package node

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/names"
)

// Limits are the limits in force. Rates are in bytes a second, 0 for none.
type Limits struct {
	Up                 int64           `json:"up_bytes_per_second"`
	Down               int64           `json:"down_bytes_per_second"`
	Channels           []ChannelLimits `json:"channels,omitempty"` // those with a limit
	MaxPeers           int             `json:"max_peers"`
	MaxPeersPerRelease int             `json:"max_peers_per_release"`
	DSCP               string          `json:"dscp,omitempty"`
}

// ChannelLimits are the limits of one channel.
type ChannelLimits struct {
	Channel string `json:"channel"`
	Up      int64  `json:"up_bytes_per_second"`
	Down    int64  `json:"down_bytes_per_second"`
}

// Limits returns the limits in force.
func (n *Node) Limits() Limits {
	cfg := n.cfg.Load()
	l := &n.limits
	out := Limits{Up: l.node.up.Limit(), Down: l.node.down.Limit(), MaxPeers: cfg.MaxPeers, MaxPeersPerRelease: cfg.PerRelease, DSCP: cfg.DSCP}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(l.channels)) {
		if c := (ChannelLimits{name, l.channels[name].up.Limit(), l.channels[name].down.Limit()}); c.Up+c.Down > 0 {
			out.Channels = append(out.Channels, c)
		}
	}
	return out
}

// LimitRequest is what `distd limit` asks a running daemon for. A nil rate stays
// as it is; without a channel it is that of the node.
type LimitRequest struct {
	Channel string       `json:"channel,omitempty"`
	Up      *config.Rate `json:"up,omitempty"`
	Down    *config.Rate `json:"down,omitempty"`
}

// SetLimits changes rates until the next reload.
func (n *Node) SetLimits(req LimitRequest) error {
	r := &n.limits.node
	if req.Channel != "" {
		if err := n.knowsChannel(req.Channel); err != nil {
			return coded(ExUsage, err)
		}
		r = n.limits.channel(req.Channel)
	}
	if req.Up != nil {
		r.up.Set(int64(*req.Up))
	}
	if req.Down != nil {
		r.down.Set(int64(*req.Down))
	}
	n.log.Info("limits changed by the operator, until the next restart or reload", zap.String("channel", req.Channel),
		zap.Stringer("up", config.Rate(r.up.Limit())), zap.Stringer("down", config.Rate(r.down.Limit())))
	return nil
}

// knowsChannel says whether the channel is here, or has limits already.
func (n *Node) knowsChannel(name string) error {
	if err := names.Channel(name); err != nil {
		return err
	}
	known := n.store.Channels()
	n.limits.mu.Lock()
	_, limited := n.limits.channels[name]
	n.limits.mu.Unlock()
	if limited || slices.Contains(known, name) {
		return nil
	}
	return fmt.Errorf("channel %q is not here (channels: %s)%s", name, strings.Join(known, ", "), config.Nearest(name, known))
}

func (n *Node) controlLimits(w http.ResponseWriter, r *http.Request) {
	var req LimitRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&req); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if req != (LimitRequest{Channel: req.Channel}) {
		if err := n.SetLimits(req); err != nil {
			refuse(w, err)
			return
		}
	}
	reply(w, n.Limits())
}

// Limit changes rates of the daemon, if the request has any, and returns all
// limits in force.
func (c *Control) Limit(ctx context.Context, req LimitRequest) (*Limits, error) {
	l := new(Limits)
	return l, c.call(ctx, http.MethodPost, "/v1/limits", req, func(d *json.Decoder) error { return d.Decode(l) })
}
