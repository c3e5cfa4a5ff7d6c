package serve

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"time"

	"go.uber.org/zap"

	"distd/internal/names"
)

// maxFilter is how many channels a listener can name.
const maxFilter = 256

// Announce tells the listeners of /v1/events that the channel's newest release
// is the one of pointer, a latest.json with its signature. It does not wait
// for them.
func (s *Server) Announce(channel string, pointer, sig []byte) {
	e, err := newEvent(channel, pointer, sig)
	if err != nil {
		s.log.Error("a release is not announced", zap.Error(err))
		return
	}
	s.hub.announce(e)
}

// serveEvents is a stream of server-sent events: all current pointers first,
// then each new one, and comments in between so that both sides notice a dead
// connection.
func (s *Server) serveEvents(w *response, r *http.Request) {
	want, err := channelFilter(r.URL.Query())
	if err != nil {
		w.fail(http.StatusBadRequest, err.Error())
		return
	}
	h := w.Header()
	if w.head {
		h.Set("Content-Type", "text/event-stream")
		h.Set("Cache-Control", cacheNever)
		return
	}
	sub := s.hub.join(remoteAddr(r.RemoteAddr), want)
	if sub == nil {
		s.metrics.refused.WithLabelValues(refusedListeners).Inc()
		s.notYet(w, "too many listeners")
		return
	}
	defer s.hub.leave(sub)
	s.metrics.listeners.Inc()
	defer s.metrics.listeners.Dec()
	s.current(sub)
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", cacheNever)
	h.Set("X-Accel-Buffering", "no") // a proxy in between must not hold events back
	s.stream(r.Context(), w, sub)
}

// current marks the newest release of each channel to be sent.
func (s *Server) current(sub *subscriber) {
	for _, ch := range s.cfg.Catalog.Channels() {
		if sub.channels != nil && !sub.channels[ch] {
			continue
		}
		data, sig, err := s.cfg.Catalog.Pointer(ch)
		if err == nil {
			var e event
			if e, err = newEvent(ch, data, sig); err == nil {
				sub.put(e)
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Error("a listener does not get a channel's newest release", zap.Error(err))
		}
	}
}

// stream sends until the client is gone or the server ends.
func (s *Server) stream(ctx context.Context, w *response, sub *subscriber) {
	ping := time.NewTicker(s.cfg.PingInterval)
	defer ping.Stop()
	out := []byte("retry: 2000\n\n")
	for {
		for _, e := range sub.take() {
			out = e.appendTo(out)
			s.metrics.events.Inc()
		}
		if len(out) > 0 {
			if _, err := w.Write(out); err != nil {
				return
			}
			if err := w.flush(); err != nil {
				return
			}
		}
		out = out[:0]
		select {
		case <-ctx.Done():
			return
		case <-sub.wake:
		case <-ping.C:
			out = append(out, ": ping\n\n"...)
		}
	}
}

// channelFilter reads ?channel=a&channel=b; nil means all channels.
func channelFilter(q url.Values) (map[string]bool, error) {
	list := q["channel"]
	if len(list) == 0 {
		return nil, nil
	}
	if len(list) > maxFilter {
		return nil, errors.New("too many channels; leave the filter out")
	}
	want := make(map[string]bool, len(list))
	for _, ch := range list {
		if err := names.Channel(ch); err != nil {
			return nil, err
		}
		want[ch] = true
	}
	return want, nil
}
