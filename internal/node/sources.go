package node

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"distd/internal/discover"
	"distd/pkg/swarm"
)

// SourceStatus is one way by which the node finds others of its zone. None of
// them is needed as long as one works.
type SourceStatus struct {
	Name   string    `json:"name"`           // tracker, dht, lsd, pex, dns, configured, disk, incoming
	Alive  bool      `json:"alive"`          // somebody has answered, or was named, lately
	Detail string    `json:"detail"`         // in words
	Last   time.Time `json:"last,omitzero"`  // when somebody last did
	Known  int       `json:"known"`          // addresses of peers that it named, of all releases
	Peers  int       `json:"peers"`          // of these, how many are connected
	Nodes  []string  `json:"nodes,omitzero"` // of the DHT, that answer

	// Of the DHT and of local discovery: packets, and what was refused, by reason.
	Received uint64            `json:"packets_received,omitempty"`
	Sent     uint64            `json:"packets_sent,omitempty"`
	Refused  map[string]uint64 `json:"refused,omitempty"`
	// RefusedOf is whose was refused last, by reason.
	RefusedOf map[string]string `json:"refused_of,omitempty"`
}

// lately is how old the last sign of life of a source may be.
const lately = 20 * time.Minute

// sourceDNS names seeds, not peers.
const sourceDNS = "dns"

// search is what DNS said last.
type search struct {
	mu      sync.Mutex
	at      time.Time // zero: never asked
	found   []discover.Found
	leaving []string // seeds that are followed and were not named
	err     error
}

func (n *Node) noteSearch(found []discover.Found, leaving []string, err error) {
	n.search.mu.Lock()
	defer n.search.mu.Unlock()
	n.search.at, n.search.found, n.search.leaving, n.search.err = time.Now(), found, leaving, err
}

// sources tells how the node finds others.
func (n *Node) sources(trackers map[string]string) []SourceStatus {
	if n.finder == nil {
		return nil
	}
	out := []SourceStatus{}
	by := map[string]swarm.SourceStats{}
	for _, j := range n.releases.list() {
		j.mu.Lock()
		tor := j.torrent
		j.mu.Unlock()
		if tor == nil {
			continue
		}
		for name, s := range tor.Stats().Sources {
			sum := by[name]
			sum.Known, sum.Connected = sum.Known+s.Known, sum.Connected+s.Connected
			by[name] = sum
		}
	}
	add := func(s SourceStatus) {
		s.Known, s.Peers = by[s.Name].Known, by[s.Name].Connected
		s.Alive = s.Alive || s.Peers > 0
		out = append(out, s)
	}
	if len(trackers) > 0 {
		ok := 0
		for _, state := range trackers {
			if state == "ok" {
				ok++
			}
		}
		add(SourceStatus{Name: swarm.SourceTracker, Alive: ok > 0, Detail: fmt.Sprintf("%d of %d answer", ok, len(trackers))})
	}
	n.finder.describe(add)
	add(SourceStatus{Name: swarm.SourcePEX, Detail: "what peers tell of others"})
	add(SourceStatus{Name: swarm.SourceIncoming, Detail: "peers that came by themselves"})
	return out
}

// describe adds the finder's own sources.
func (f *finder) describe(add func(SourceStatus)) {
	if f.dht != nil {
		add(f.describeDHT())
	}
	if f.lsd != nil {
		add(f.describeLSD())
	}
	f.mu.Lock()
	configured := len(f.configured)
	f.mu.Unlock()
	if named := len(f.node.cfg.Load().Peer); named > 0 {
		add(SourceStatus{Name: swarm.SourceConfigured, Detail: fmt.Sprintf("%d peers are named, with %d addresses", named, configured)})
	}
	add(SourceStatus{Name: swarm.SourceDisk, Detail: fmt.Sprintf("%d peers are remembered", len(f.book.Peers("", maxShown)))})
	if se := &f.node.search; se.asked() {
		add(se.status())
	}
}

func (f *finder) describeDHT() SourceStatus {
	s := f.dht.Stats()
	out := SourceStatus{Name: swarm.SourceDHT, Alive: s.Good > 0 && time.Since(s.LastAnswer) < lately, Last: s.LastAnswer.UTC(),
		Received: s.PacketsIn, Sent: s.PacketsOut, Refused: map[string]uint64{}, RefusedOf: map[string]string{}}
	for why, count := range s.Refused {
		out.Refused[string(why)] = count
		if of := s.RefusedOf[why]; of.IsValid() {
			out.RefusedOf[string(why)] = of.String()
		}
	}
	for _, ap := range s.Nodes {
		out.Nodes = append(out.Nodes, ap.String())
	}
	slices.Sort(out.Nodes)
	out.Detail = fmt.Sprintf("%d nodes answer, %d are known; %d peers and %d items are kept for others", s.Good, s.Known, s.Peers, s.Items)
	if s.LastAnswer.IsZero() {
		out.Detail = "no node has answered yet"
	}
	if heard := f.heard.Load(); heard > 0 {
		out.Detail += fmt.Sprintf("; %d releases were heard of", heard)
	}
	return out
}

func (f *finder) describeLSD() SourceStatus {
	s := f.lsd.Stats()
	out := SourceStatus{Name: swarm.SourceLSD, Alive: time.Since(s.LastHeard) < lately, Last: s.LastHeard.UTC(), Received: s.Received, Sent: s.Sent,
		Refused: map[string]uint64{}}
	for why, count := range map[string]uint64{"outside": s.Refused.Zone, "malformed": s.Refused.Malformed, "too fast": s.Refused.Fast} {
		if count > 0 {
			out.Refused[why] = count
		}
	}
	out.Detail = fmt.Sprintf("%d announces sent, %d heard on %s", s.Sent, s.Received, cmp.Or(strings.Join(s.Interfaces, ", "), "no interface"))
	return out
}

// maxShown bounds the count of remembered peers.
const maxShown = 1000

func (se *search) asked() bool {
	se.mu.Lock()
	defer se.mu.Unlock()
	return !se.at.IsZero()
}

func (se *search) status() SourceStatus {
	se.mu.Lock()
	defer se.mu.Unlock()
	s := SourceStatus{Name: sourceDNS, Alive: len(se.found) > 0, Last: se.at.UTC()}
	var urls []string
	for _, f := range se.found {
		urls = append(urls, f.URL)
	}
	s.Detail = "names " + strings.Join(urls, ", ")
	if len(se.leaving) > 0 {
		s.Detail += "; no longer " + strings.Join(se.leaving, ", ") + ", which is followed until nothing is fetched through it"
	}
	if se.err != nil {
		s.Detail = se.err.Error()
	}
	return s
}

// reached says whether anybody of the zone has answered.
func (f *finder) reached() bool {
	if f == nil {
		return false
	}
	if f.dht != nil && !f.dht.Stats().LastAnswer.IsZero() {
		return true
	}
	for _, j := range f.node.releases.list() {
		j.mu.Lock()
		tor := j.torrent
		j.mu.Unlock()
		if tor != nil && len(tor.Stats().Peers) > 0 {
			return true
		}
	}
	return false
}

// sourceLog says in the log when a source dies or comes alive: one that answers
// questions. Of the others nothing is heard while no release is fetched.
type sourceLog struct{ alive map[string]bool }

var answering = []string{swarm.SourceTracker, swarm.SourceDHT, swarm.SourceLSD, sourceDNS}

func (l *sourceLog) update(log *zap.Logger, sources []SourceStatus) {
	if l.alive == nil {
		l.alive = map[string]bool{}
	}
	var alive []string
	for _, s := range sources {
		if s.Alive {
			alive = append(alive, s.Name)
		}
	}
	for _, s := range sources {
		if !slices.Contains(answering, s.Name) {
			continue
		}
		was, seen := l.alive[s.Name]
		l.alive[s.Name] = s.Alive
		switch {
		case s.Alive && !was:
			log.Info("a way to find peers works", zap.String("source", s.Name), zap.String("detail", s.Detail))
		case !s.Alive && was && seen:
			log.Warn("a way to find peers is dead; the others carry on", zap.String("source", s.Name), zap.String("detail", s.Detail), zap.Strings("alive", alive))
		}
	}
}
