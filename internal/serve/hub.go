package serve

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// hub hands events to the listeners of /v1/events. It has no goroutine: an
// announcement only marks what each listener has yet to send, and each
// listener's own request sends it. Of one channel only the newest event
// matters, so a listener holds one event a channel at most and a slow one
// costs no memory; when it does not read at all, the write times out.
type hub struct {
	mu    sync.Mutex
	subs  map[*subscriber]struct{}
	limit *limiter
}

// subscriber is one listener.
type subscriber struct {
	addr     netip.Addr
	channels map[string]bool // nil: all

	mu      sync.Mutex
	pending map[string]event
	sent    map[string]uint64 // serial last taken, by channel
	wake    chan struct{}     // capacity 1
}

// event says which release is a channel's newest.
type event struct {
	channel string
	serial  uint64
	data    []byte // latest.json in one line
	sig     []byte // its signature; nil when data is not latest.json to the byte
}

// newEvent makes the event of a pointer and its signature, which is not
// verified here: the server serves what the node has verified, and its
// listeners verify again.
func newEvent(channel string, pointer, sig []byte) (event, error) {
	var p struct {
		Serial uint64 `json:"serial"`
	}
	if err := json.Unmarshal(pointer, &p); err != nil {
		return event{}, fmt.Errorf("pointer of channel %s: %w", channel, err)
	}
	var line bytes.Buffer
	if err := json.Compact(&line, pointer); err != nil {
		return event{}, fmt.Errorf("pointer of channel %s: %w", channel, err)
	}
	if !bytes.Equal(line.Bytes(), pointer) {
		sig = nil
	}
	return event{channel: channel, serial: p.Serial, data: line.Bytes(), sig: sig}, nil
}

// appendTo writes the event. The signature stands in a field of our own, which
// readers that do not know it pass over: one that does need not ask for the
// pointer, which over a long link saves three round trips.
func (e event) appendTo(b []byte) []byte {
	b = fmt.Appendf(b, "event: release\nid: %s/%d\n", e.channel, e.serial)
	if e.sig != nil {
		b = append(b, "minisig: "...)
		b = base64.StdEncoding.AppendEncode(b, e.sig)
		b = append(b, '\n')
	}
	return fmt.Appendf(b, "data: %s\n\n", e.data)
}

func newHub(total, perAddr int) *hub {
	return &hub{subs: map[*subscriber]struct{}{}, limit: newLimiter(total, perAddr)}
}

// join adds a listener, or returns nil when there are too many.
func (h *hub) join(addr netip.Addr, channels map[string]bool) *subscriber {
	if h.limit.add(addr) != "" {
		return nil
	}
	sub := &subscriber{addr: addr, channels: channels, pending: map[string]event{}, sent: map[string]uint64{}, wake: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subs[sub] = struct{}{}
	return sub
}

func (h *hub) leave(sub *subscriber) {
	h.mu.Lock()
	delete(h.subs, sub)
	h.mu.Unlock()
	h.limit.remove(sub.addr)
}

func (h *hub) announce(e event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for sub := range h.subs {
		sub.put(e)
	}
}

// put marks an event to be sent, unless it is older than what the listener has
// got or is about to get: the pointers read on connecting may be overtaken by
// an announcement.
func (s *subscriber) put(e event) {
	if s.channels != nil && !s.channels[e.channel] {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.serial < s.pending[e.channel].serial || e.serial < s.sent[e.channel] {
		return
	}
	s.pending[e.channel] = e
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take returns what is to be sent, by channel.
func (s *subscriber) take() []event {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]event, 0, len(s.pending))
	for ch, e := range s.pending {
		out = append(out, e)
		s.sent[ch] = e.serial
	}
	clear(s.pending)
	slices.SortFunc(out, func(a, b event) int { return strings.Compare(a.channel, b.channel) })
	return out
}
