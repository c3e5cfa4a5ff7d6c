package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"distd/internal/node"
)

// What a download waits for, and what keeps one that moves from being faster.
var (
	waitedFor = map[string]string{"peers": "for peers", "pieces": "for pieces", "mirrors": "for mirrors", "disk": "for the disk", "memory": "for memory", "limits": "for the down limit", "mirror_limit": "for the wan_down limit"}
	heldBy    = map[string]string{"peers": "at the peers' speed", "pieces": "short of pieces", "mirrors": "at the mirrors' speed", "disk": "held up by the disk", "memory": "short of memory", "limits": "at the down limit", "mirror_limit": "at the wan_down limit"}
	askedFor  = map[string]string{"limits": "for the up limit", "turn": "for a turn"}
)

// leastShown is the shortest time, in seconds, that is worth a word.
const leastShown = 0.05

// explain says of a release that is in flight how it moves and what holds it up,
// in a line for what comes and a line for what goes.
func explain(r *node.ReleaseStatus) (lines []string) {
	if !r.InFlight {
		return nil
	}
	if r.BytesLeft > 0 {
		lines = append(lines, explainDown(r))
	}
	if r.Uploaded > 0 || r.Swarm != nil && r.Peers > 0 {
		lines = append(lines, explainUp(r))
	}
	return lines
}

func explainDown(r *node.ReleaseStatus) string {
	from := count(r.Peers, "peer")
	if r.FromMirrors > 0 || len(r.Mirrors) > 0 {
		from = "mirrors and " + from
	}
	parts := []string{fmt.Sprintf("%s after %s, %s from %s", percent(*r), span(r.Elapsed), speed(r.DownRate), from)}
	if w := times(r.Waited, waitedFor, span); w != "" {
		parts = append(parts, "waited "+w)
	}
	moved := 0.0
	for _, s := range r.Moved {
		moved += s
	}
	share := func(s float64) string { return fmt.Sprintf("%.0f%%", 100*s/moved) }
	if m := times(r.Moved, heldBy, share); m != "" {
		parts = append(parts, "moved "+span(moved)+": "+m)
	}
	if r.Wasted > 0 {
		parts = append(parts, humanize.IBytes(uint64(r.Wasted))+" wasted")
	}
	if len(r.Slowest) > 0 {
		parts = append(parts, "slowest peers: "+peers(r.Slowest, func(p node.PeerFlow) string {
			s := fmt.Sprintf("%s with %s open", speed(p.DownRate), count(p.Outstanding, "request"))
			if p.Silent {
				s += ", silent"
			}
			return s
		}))
	}
	return strings.Join(parts, "; ")
}

func explainUp(r *node.ReleaseStatus) string {
	parts := []string{fmt.Sprintf("sent %.2f copies, %s to %s", r.SentCopies, speed(r.UpRate), count(r.Peers, "peer"))}
	if k := r.Swarm; k != nil {
		parts = append(parts, fmt.Sprintf("%d known to be complete", k.CompletePeers),
			fmt.Sprintf("rarest piece has %s at the peers, %.1f on average", count(k.LowestCopies, "copy"), k.MeanCopies))
	}
	if w := times(r.RequestsWaited, askedFor, span); w != "" {
		parts = append(parts, "requests waited "+w)
	}
	if k := r.Swarm; k != nil && len(k.Behind) > 0 {
		parts = append(parts, "furthest behind: "+peers(k.Behind, func(p node.PeerFlow) string {
			return fmt.Sprintf("%.0f%% at %s", 100*p.Done, speed(p.GainRate))
		}))
	}
	return strings.Join(parts, "; ")
}

// times lists what took longest first, each with its word.
func times(m map[string]float64, words map[string]string, show func(float64) string) string {
	var list []string
	for _, why := range slices.SortedFunc(maps.Keys(m), func(a, b string) int { return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b)) }) {
		if m[why] >= leastShown {
			list = append(list, show(m[why])+" "+cmp.Or(words[why], why))
		}
	}
	return strings.Join(list, ", ")
}

func peers(ps []node.PeerFlow, how func(node.PeerFlow) string) string {
	var list []string
	for _, p := range ps {
		list = append(list, p.Addr+" ("+how(p)+")")
	}
	return strings.Join(list, ", ")
}

// span is so many seconds, short.
func span(s float64) string {
	unit := time.Second
	if s < 10 {
		unit = 100 * time.Millisecond
	}
	return time.Duration(s * float64(time.Second)).Round(unit).String()
}

func speed(bytes float64) string { return humanize.IBytes(uint64(bytes)) + "/s" }

func count(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case what == "copy":
		what = "copie"
	}
	return fmt.Sprintf("%d %ss", n, what)
}
