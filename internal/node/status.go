package node

import (
	"cmp"
	"crypto/sha256"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"distd/internal/store"
	"distd/internal/watch"
	"distd/pkg/swarm"
	"distd/pkg/tracker"
)

// Status is what the node tells of itself: GET /v1/status and `distd status`.
type Status struct {
	Role     string            `json:"role"`
	Version  string            `json:"version"`
	Uptime   float64           `json:"uptime_seconds"`
	Dir      string            `json:"dir"`
	Ready    bool              `json:"ready"`
	Problem  string            `json:"problem,omitempty"`
	Channels []ChannelStatus   `json:"channels"`
	Releases []ReleaseStatus   `json:"releases"`
	Upstream []UpstreamStatus  `json:"upstreams,omitempty"`
	Trackers map[string]string `json:"trackers,omitempty"`
	Sources  []SourceStatus    `json:"sources,omitempty"`
	Limits   Limits            `json:"limits"`
	Paths    []PathStatus      `json:"paths,omitempty"`
	Zone     string            `json:"zone,omitempty"`
	ZoneNet  []netip.Prefix    `json:"zone_net,omitempty"`
	// KeptOut counts the peers that were kept out of the zone, by what named them.
	KeptOut map[string]int64 `json:"kept_out,omitempty"`
	// Documents is in which form the documents of releases came from upstreams.
	Documents TrafficStatus  `json:"documents"`
	Watches   []watch.Status `json:"watches,omitempty"`
	Scrub     ScrubStatus    `json:"scrub"`
	Disk      DiskStatus     `json:"disk"`
}

// ChannelStatus is one channel as this node knows it.
type ChannelStatus struct {
	Name      string    `json:"name"`
	Serial    uint64    `json:"serial"`
	Newest    string    `json:"newest"`
	Live      string    `json:"live,omitempty"`
	Previous  string    `json:"previous,omitempty"`
	Release   string    `json:"release_name"`
	Created   time.Time `json:"created"`
	PublicKey string    `json:"public_key,omitempty"`
	// Link leads to the channel's newest release by way of a DHT (BEP 46).
	Link string `json:"link,omitempty"`
	// Withdrawn is the newest release when it was live on this node and was taken
	// back here alone, by the operator or since its hook failed.
	Withdrawn string `json:"withdrawn,omitempty"`
}

// ReleaseStatus is one release that the node fetches or holds.
type ReleaseStatus struct {
	ID           string  `json:"id"`
	Channel      string  `json:"channel"`
	Serial       uint64  `json:"serial"`
	Name         string  `json:"name"`
	State        string  `json:"state"`
	Problem      string  `json:"problem,omitempty"`
	Size         int64   `json:"size"`
	BytesLeft    int64   `json:"bytes_left"`
	Pieces       int     `json:"pieces"`
	Have         int     `json:"have"`
	FetchSeconds float64 `json:"fetch_seconds,omitempty"`
	FromPeers    int64   `json:"bytes_from_peers"`
	FromMirrors  int64   `json:"bytes_from_mirrors"`
	Reused       int64   `json:"bytes_reused"` // in files that releases on this disk had
	Delta        int64   `json:"bytes_delta"`  // of delta packs, which are in what came from peers and mirrors
	Uploaded     int64   `json:"bytes_uploaded"`
	Wasted       int64   `json:"bytes_wasted"`
	BadPieces    int64   `json:"bad_pieces"`
	Unreadable   int     `json:"unreadable_pieces"` // on this node's own disk
	// BytesOnDisk is what removing the release would free: not what it shares with
	// others by hard links.
	BytesOnDisk int64 `json:"bytes_on_disk"`
	// Damaged is how many entries differ from the manifest, as far as is known,
	// and Damages the first of them.
	Damaged      int             `json:"damaged"`
	Damages      []store.Problem `json:"damages,omitempty"`
	Peers        int             `json:"peers"`
	HookAttempts int             `json:"hook_attempts"`
	HookOutcome  string          `json:"hook_outcome,omitempty"`
	Trigger      string          `json:"trigger,omitempty"` // why the master published it by itself
	Mirrors      []Mirror        `json:"mirrors,omitempty"`
	Magnet       string          `json:"magnet,omitempty"`
	Flow
}

// UpstreamStatus is one node that this one follows.
type UpstreamStatus struct {
	URL      string `json:"url"`
	Answered bool   `json:"answered"` // its last word was understood
	// Following says that the upstream is heard of news from right now, Problem
	// why not, Since when this began.
	Following bool              `json:"following"`
	Problem   string            `json:"problem,omitempty"`
	Since     time.Time         `json:"since,omitzero"`
	Problems  map[string]string `json:"problems,omitempty"` // by channel
	// Spare says that it is followed only while no seed is there.
	Spare bool `json:"spare,omitempty"`
}

// counters are events that are counted over the node's life.
type counters struct {
	refused, expired, hookRuns, hookFailures, badDeltas atomic.Int64
}

// Status returns the node's state as of now.
func (n *Node) Status() *Status {
	s := &Status{Role: n.role, Version: n.version, Uptime: n.uptime().Seconds(), Dir: n.store.Dir(), Ready: true,
		Channels: []ChannelStatus{}, Releases: []ReleaseStatus{}, Trackers: n.trackerStates(), Limits: n.Limits(), Paths: n.paths.totals(), Watches: n.watchStatus(),
		Zone: n.fence.Name(), ZoneNet: n.fence.Nets(), KeptOut: n.fence.Counts(), Documents: n.documentTraffic()}
	if err := n.Ready(); err != nil {
		s.Ready, s.Problem = false, err.Error()
	}
	for _, name := range n.store.Channels() {
		_, _, p, err := n.store.Pointer(name)
		if err != nil {
			continue
		}
		c := ChannelStatus{Name: name, Serial: p.Serial, Newest: p.Manifest, Release: p.Name, Created: p.Created}
		c.Live, _ = n.store.Live(name)
		c.Previous, _ = n.store.Previous(name)
		if id, ok := n.store.Withdrawn(name); ok && c.Live != "" && c.Live != id && c.Newest == id {
			c.Withdrawn = id
		}
		c.PublicKey, _ = n.store.PinnedKey(name)
		c.Link = n.channelLink(name)
		s.Channels = append(s.Channels, c)
	}
	jobs := map[string]*job{}
	for _, j := range n.releases.list() {
		jobs[j.id] = j
	}
	for _, rel := range n.store.Releases() {
		r := ReleaseStatus{ID: rel.ID, Channel: rel.Manifest.Channel, Serial: rel.Manifest.Serial, Name: rel.Manifest.Name, State: "staged",
			Size: rel.Manifest.Size, BytesLeft: rel.Manifest.Size, Pieces: len(rel.Manifest.Pieces) / sha256.Size}
		if rel.Complete {
			r.State, r.BytesLeft, r.Have = "complete", 0, r.Pieces
		}
		rec := n.store.Hooks(rel.ID)
		r.HookAttempts, r.HookOutcome = rec.Attempts, rec.Outcome
		r.Trigger = n.watches.memory.trigger(r.Channel, r.ID)
		var peers []swarm.PeerStats
		if j := jobs[rel.ID]; j != nil {
			peers = j.describe(&r)
		}
		r.Magnet = n.magnet(rel, peers)
		s.Releases = append(s.Releases, r)
	}
	slices.SortFunc(s.Releases, func(a, b ReleaseStatus) int {
		return cmp.Or(cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.Serial, b.Serial))
	})
	n.scrub.describe(s)
	n.describeDisk(s)
	s.Sources = n.sources(s.Trackers)
	for _, f := range n.upstreams() {
		u := UpstreamStatus{URL: f.client.Base(), Answered: f.reached(), Problems: f.errors()}
		u.Spare = f.spare.Load()
		if c, ok := f.client.Contact(); ok && !u.Spare {
			u.Following, u.Since = c.Err == nil, c.Since.UTC().Truncate(time.Second)
			if c.Err != nil {
				u.Problem = c.Err.Error()
			}
		}
		s.Upstream = append(s.Upstream, u)
	}
	return s
}

// describe fills in what the job knows of its release, and returns its peers.
func (j *job) describe(r *ReleaseStatus) (peers []swarm.PeerStats) {
	r.State, _ = j.state.Load().(string)
	r.Problem, _ = j.problem.Load().(string)
	r.Reused = j.reused.Load()
	j.mu.Lock()
	tor, f, fetched := j.torrent, j.fetcher, j.fetched
	r.Mirrors = j.mirrors
	j.mu.Unlock()
	r.FetchSeconds = fetched.Seconds()
	if tor != nil {
		t := tor.Stats()
		fillSwarm(r, t)
		peers = t.Peers
		if t.DiskError != nil {
			r.Problem = "waiting for the disk: " + t.DiskError.Error()
		}
	}
	for _, p := range j.listPacks() {
		p.describe(r)
	}
	if size, ok := j.node.inlined.Load(j.id); ok {
		// It came from the upstream like what comes from mirrors.
		r.FromMirrors, r.Delta = r.FromMirrors+size.(int64), r.Delta+size.(int64)
	}
	if f != nil {
		r.Mirrors = merge(r.Mirrors, mirrorsOfStats(f.Stats()))
	}
	return peers
}

// trackerStates are the trackers' last answers, by URL. One is asked about every
// release, now and then: what it said last counts.
func (n *Node) trackerStates() map[string]string {
	last := map[string]tracker.Status{}
	for _, j := range n.releases.list() {
		for _, a := range j.announced() {
			newest(last, a.Status())
		}
	}
	states := make(map[string]string, len(last))
	for url, t := range last {
		states[url] = cmp.Or(t.Error, "ok")
	}
	return states
}

// newest keeps the later of two answers of one tracker.
func newest(last map[string]tracker.Status, more []tracker.Status) {
	for _, t := range more {
		if old, ok := last[t.URL]; !ok || t.LastAnnounce.After(old.LastAnnounce) {
			last[t.URL] = t
		}
	}
}

// TrafficStatus is what a node has fetched from upstreams of releases' documents,
// in bytes of the answers: as the difference from those of another release,
// packed, and as they are; and the delta packs that came with them, and with those
// from peers. Refused are answers that were not what had been asked for.
type TrafficStatus struct {
	Difference int64 `json:"difference_bytes"`
	Packed     int64 `json:"packed_bytes"`
	Plain      int64 `json:"plain_bytes"`
	Pack       int64 `json:"pack_bytes"`
	PeerPack   int64 `json:"peer_pack_bytes"`
	Refused    int64 `json:"refused"`
}

func (n *Node) documentTraffic() TrafficStatus {
	t := &n.traffic
	s := TrafficStatus{Difference: t.Difference.Load(), Packed: t.Packed.Load(), Plain: t.Plain.Load(), Pack: t.Pack.Load(), Refused: t.Refused.Load()}
	if n.finder != nil {
		s.PeerPack = n.finder.packs.Load()
	}
	return s
}

// describe adds what the pack has brought and sent to that of its release.
func (p *pack) describe(r *ReleaseStatus) {
	t := p.torrent.Stats()
	r.FromPeers, r.FromMirrors = r.FromPeers+t.Downloaded[swarm.SourcePeers], r.FromMirrors+t.Downloaded[swarm.SourceMirrors]
	r.Delta += t.Downloaded[swarm.SourcePeers] + t.Downloaded[swarm.SourceMirrors]
	r.Uploaded, r.Wasted, r.BadPieces = r.Uploaded+t.Uploaded, r.Wasted+t.Wasted, r.BadPieces+int64(t.BadPieces)
	if r.State == stateDelta {
		r.BytesLeft, r.Peers = t.BytesLeft, len(t.Peers)
	}
}

func fillSwarm(r *ReleaseStatus, t swarm.Stats) {
	r.BytesLeft, r.Pieces, r.Have = t.BytesLeft, t.Pieces, t.Have
	r.FromPeers, r.FromMirrors, r.Uploaded = t.Downloaded[swarm.SourcePeers], t.Downloaded[swarm.SourceMirrors], t.Uploaded
	r.Unreadable = t.Unreadable
	r.Flow = flowOf(t, r.Size)
	r.Wasted, r.BadPieces, r.Peers = t.Wasted, int64(t.BadPieces), len(t.Peers)
	if t.DiskError != nil && r.Problem == "" {
		r.Problem = t.DiskError.Error()
	}
}
