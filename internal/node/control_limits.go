package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/names"
)

// Limits are the limits in force. Rates are in bytes a second, 0 for none.
type Limits struct {
	Up                 int64             `json:"up_bytes_per_second"`
	Down               int64             `json:"down_bytes_per_second"`
	WANDown            int64             `json:"wan_down_bytes_per_second"`
	Channels           []ChannelLimits   `json:"channels,omitempty"`   // those with a limit
	Timetables         []TimetableStatus `json:"timetables,omitempty"` // where a rate has one
	MaxPeers           int               `json:"max_peers"`
	MaxPeersPerRelease int               `json:"max_peers_per_release"`
	DSCP               string            `json:"dscp,omitempty"`
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
	out := Limits{Up: l.node.up.Limit(), Down: l.node.down.Limit(), WANDown: l.wan.Limit(), MaxPeers: cfg.MaxPeers, MaxPeersPerRelease: cfg.PerRelease, DSCP: cfg.DSCP}
	now := time.Now()
	out.Timetables = slices.Concat(l.node.up.status("", "up", now), l.node.down.status("", "down", now), l.wan.status("", "wan_down", now))
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(l.channels)) {
		r := l.channels[name]
		if c := (ChannelLimits{name, r.up.Limit(), r.down.Limit()}); c.Up+c.Down > 0 {
			out.Channels = append(out.Channels, c)
		}
		out.Timetables = slices.Concat(out.Timetables, r.up.status(name, "up", now), r.down.status(name, "down", now))
	}
	return out
}

// LimitRequest is what `distd limit` asks a running daemon for. A nil rate stays
// as it is; without a channel it is that of the node. WANDown is of the node
// only.
type LimitRequest struct {
	Channel string            `json:"channel,omitempty"`
	Up      *config.Timetable `json:"up,omitempty"`
	Down    *config.Timetable `json:"down,omitempty"`
	WANDown *config.Timetable `json:"wan_down,omitempty"`
}

// SetLimits changes rates until the next reload.
func (n *Node) SetLimits(req LimitRequest) error {
	r := &n.limits.node
	if req.Channel != "" {
		if req.WANDown != nil {
			return coded(ExUsage, errors.New("wan_down is of the node and not of a channel: leave the channel out"))
		}
		if err := n.knowsChannel(req.Channel); err != nil {
			return coded(ExUsage, err)
		}
		r = n.limits.channel(req.Channel)
	}
	fields := []zap.Field{zap.String("channel", req.Channel)}
	for _, c := range []struct {
		name string
		rate *rate
		to   *config.Timetable
	}{{"up", &r.up, req.Up}, {"down", &r.down, req.Down}, {"wan_down", &n.limits.wan, req.WANDown}} {
		if c.to != nil {
			c.rate.follow(*c.to)
			fields = append(fields, zap.Stringer(c.name, c.to))
		}
	}
	n.log.Info("limits changed by the operator, until the next restart or reload", fields...)
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
