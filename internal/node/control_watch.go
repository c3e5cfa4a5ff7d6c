package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/watch"
)

// What can be done to a watch.
const (
	WatchPause  = "pause"
	WatchResume = "resume"
	WatchNow    = "now"
)

// WatchRequest is what `distd watch` asks a running master for. Without an action
// nothing is changed; without a channel it is about all.
type WatchRequest struct {
	Action  string `json:"action,omitempty"`
	Channel string `json:"channel,omitempty"`
}

// Watch does what the request says, and returns the watches that it was about.
func (n *Node) Watch(req WatchRequest) ([]watch.Status, error) {
	var of []*watch.Watch
	var channels []string
	for _, w := range n.watches.list {
		name := w.Status().Channel
		channels = append(channels, name)
		if req.Channel == "" || req.Channel == name {
			of = append(of, w)
		}
	}
	switch {
	case len(channels) == 0:
		return nil, coded(ExUnavailable, errors.New("no folder is watched here: set watch, such as watch: [web=/srv/www], and restart"))
	case len(of) == 0:
		return nil, coded(ExUsage, fmt.Errorf("no folder is watched for channel %q (channels: %s)%s", req.Channel, strings.Join(channels, ", "), config.Nearest(req.Channel, channels)))
	}
	var out []watch.Status
	for _, w := range of {
		if err := n.actOn(w, req.Action); err != nil {
			return nil, err
		}
		out = append(out, n.statusOf(w))
	}
	return out, nil
}

func (n *Node) actOn(w *watch.Watch, action string) error {
	channel := w.Status().Channel
	switch action {
	case "":
		return nil
	case WatchNow:
		w.Now()
		return nil
	case WatchPause, WatchResume:
		paused := action == WatchPause
		// A pause that cannot be kept would end with the next restart, unseen.
		if err := n.watches.memory.pause(channel, paused, ""); err != nil {
			return fmt.Errorf("%s: %w", action, err)
		}
		if paused {
			w.Pause()
		} else {
			w.Resume()
		}
		n.log.Info("the operator has changed a watch", zap.String("channel", channel), zap.String("action", action))
		return nil
	}
	return coded(ExUsage, fmt.Errorf("%q is none of pause, resume, now", action))
}

func (n *Node) controlWatch(w http.ResponseWriter, r *http.Request) {
	var req WatchRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&req); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	list, err := n.Watch(req)
	if err != nil {
		refuse(w, err)
		return
	}
	reply(w, list)
}

// Watch has the daemon do something to its watches, and returns their states.
func (c *Control) Watch(ctx context.Context, req WatchRequest) ([]watch.Status, error) {
	var list []watch.Status
	return list, c.call(ctx, http.MethodPost, "/v1/watch", req, func(d *json.Decoder) error { return d.Decode(&list) })
}

var (
	perWatch         = []string{"channel"}
	descWatchState   = prometheus.NewDesc("distd_watch_state", "1 for the state that the watch of a folder is in.", []string{"channel", "state"}, nil)
	descWatchSince   = prometheus.NewDesc("distd_watch_state_since_seconds", "When that state began, in seconds since 1970.", perWatch, nil)
	descWatchWhole   = prometheus.NewDesc("distd_watch_complete", "1 when all of the folder is watched, 0 when it is looked through now and then.", perWatch, nil)
	descWatchFolders = prometheus.NewDesc("distd_watch_folders", "Folders that are watched.", perWatch, nil)
	descWatchChanged = prometheus.NewDesc("distd_watch_changed_paths", "Paths that have changed and are not published.", perWatch, nil)
	descWatchDone    = prometheus.NewDesc("distd_watch_releases_total", "Releases that were published by themselves.", perWatch, nil)
	descWatchRetries = prometheus.NewDesc("distd_watch_retries_total", "Tries to publish that were put off.", perWatch, nil)
	descWatchRefused = prometheus.NewDesc("distd_watch_failures_total", "Tries to publish that failed.", perWatch, nil)
	descWatchLost    = prometheus.NewDesc("distd_watch_overflows_total", "Times that the kernel had more events than it keeps.", perWatch, nil)
)

func collectWatches(ch chan<- prometheus.Metric, s *Status) {
	for _, w := range s.Watches {
		gauge := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, w.Channel)
		}
		count := func(d *prometheus.Desc, v int) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), w.Channel)
		}
		ch <- prometheus.MustNewConstMetric(descWatchState, prometheus.GaugeValue, 1, w.Channel, string(w.State))
		gauge(descWatchSince, float64(w.Since.Unix()))
		gauge(descWatchWhole, flag(w.Incomplete == ""))
		gauge(descWatchFolders, float64(w.Folders))
		gauge(descWatchChanged, float64(w.Changed))
		count(descWatchDone, w.Published)
		count(descWatchRetries, w.Retries)
		count(descWatchRefused, w.Refusals)
		count(descWatchLost, w.Overflows)
	}
}
