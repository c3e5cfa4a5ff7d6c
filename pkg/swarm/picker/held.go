package picker

import (
	"math/bits"
	"time"
)

// Hold is what keeps a download from going on, or from going on faster.
type Hold int

const (
	// Free is a download that nothing holds up: there is nothing to download.
	Free Hold = iota
	// ByPeers says that no peer answers. While blocks are under way it says that
	// as much of them is asked for as can be, and that the peers, or the
	// network, send no faster.
	ByPeers
	// ByPieces says that the peers have nothing that is missing here. While blocks
	// are under way it says that they have too little of it to fill the request
	// queues.
	ByPieces
	// ByDisk says that pieces have come and wait to be verified and written.
	ByDisk
	// ByMemory says that there is no memory to begin with another piece.
	ByMemory
)

// Held says what holds up the download, and whether blocks are under way from
// peers that answer. Memory is short when it was so at any time since the last
// call.
func (p *Picker) Held(now time.Duration) (why Hold, moving bool) {
	starved := p.starved
	p.starved = false
	if p.Done() {
		return Free, false
	}
	out, answering := 0, 0
	for _, pe := range p.peers {
		if pe.answers() {
			answering++
			out += pe.outBytes
		}
	}
	moving = out > 0
	switch {
	case p.paused:
		return ByDisk, false
	case starved && 2*p.whole() >= len(p.active):
		return ByDisk, moving
	case starved:
		return ByMemory, moving
	case moving && out >= Depth(p.flow.rate.At(now), 0, p.flow.floor()):
		return ByPeers, true
	case moving:
		return ByPieces, true
	case answering == 0 || p.refusing():
		return ByPeers, false
	case p.whole() > 0:
		return ByDisk, false // the peers show more when they know of these
	}
	return ByPieces, false
}

// answers reports whether the peer takes requests and answers them.
func (pe *Peer) answers() bool { return !pe.snubbed && (!pe.choked || len(pe.allowed) > 0) }

// whole is how many pieces have come and are not yet stored.
func (p *Picker) whole() int {
	n := 0
	for _, a := range p.order {
		if a.full() {
			n++
		}
	}
	return n
}

// refusing reports whether a peer has something that is missing, that nobody
// fetches, and that it was not asked for: it has refused it a moment ago.
func (p *Picker) refusing() bool {
	for _, pe := range p.peers {
		found := false
		if pe.answers() {
			each(p.free, pe.have, 0, func(int) bool { found = true; return false })
		}
		if found {
			return true
		}
	}
	return false
}

// Claimed is how many pieces are reserved for sources that are no peers.
func (p *Picker) Claimed() int {
	n := 0
	for _, w := range p.claimed {
		n += bits.OnesCount64(w)
	}
	return n
}

// Copies is how many of the connected peers have the piece that the fewest of
// them have, and how many have a piece on average.
func (p *Picker) Copies() (lowest int, mean float64) {
	if len(p.avail) == 0 {
		return 0, 0
	}
	least, sum := p.avail[0], 0.0
	for _, n := range p.avail {
		least = min(least, n)
		sum += float64(n)
	}
	return int(least), sum / float64(len(p.avail))
}
