package picker

import "time"

// ActionKind says what an Action is.
type ActionKind int

// What the owner of a Picker may have to send.
const (
	// Ask the peer for the block of Request.
	Ask ActionKind = iota
	// Withdraw that request; the answer may be under way already.
	Withdraw
	// Tell the peer that piece Request.Piece is here: a HAVE, which a directing
	// seed uses to show a leaf what it wants it to fetch.
	Tell
	// TellAll tells the peer that everything is here.
	TellAll
	// Want tells the peer that we are interested in what it has.
	Want
)

// Action is one message to a peer.
type Action struct {
	Kind ActionKind
	Peer *Peer
	Request
}

// The events below note what happened; Decide then says what to send. This
// pair is all that a network, real or modelled, has to do with a Picker.

// Arrived records that a block came from the peer, as Block does, and withdraws
// what others were asked of it.
func (p *Picker) Arrived(pe *Peer, r Request, now time.Duration) Verdict {
	v, cancels := p.Block(pe, r, now)
	p.withdraw(cancels)
	p.mark(pe)
	return v
}

// Stored records that piece i is verified and on the disk, wherever it came
// from, and has it told to those who want to know.
func (p *Picker) Stored(i int, now time.Duration) {
	p.withdraw(p.Got(i))
	p.told(i, now)
}

// Readable takes Hide back for a piece that is there, and tells the peers.
func (p *Picker) Readable(i int, now time.Duration) {
	p.Show(i)
	p.told(i, now)
	p.MarkAll()
}

// GiveUp drops the pieces that DropStranded finds and returns their numbers.
func (p *Picker) GiveUp() []int {
	dropped, cancels := p.DropStranded()
	p.withdraw(cancels)
	return dropped
}

func (p *Picker) withdraw(cancels []Cancel) {
	for _, c := range cancels {
		p.acts = append(p.acts, Action{Kind: Withdraw, Peer: c.Peer, Request: c.Request})
		p.mark(c.Peer)
	}
}

// Pause stops asking, as while the disk is full; reveals go on.
func (p *Picker) Pause(on bool) {
	if p.paused && !on {
		p.MarkAll()
	}
	p.paused = on
}

// mark makes the next Decide look at the peer.
func (p *Picker) mark(pe *Peer) {
	if !pe.dirty && !pe.gone {
		pe.dirty = true
		p.dirty = append(p.dirty, pe)
	}
}

// MarkAll makes the next Decide look at every peer.
func (p *Picker) MarkAll() {
	for _, pe := range p.peers {
		p.mark(pe)
	}
}

// Decide returns what is to be sent after all that has happened since its last
// call, in order. The slice is good until the next call.
func (p *Picker) Decide(now time.Duration) []Action {
	if !p.endgame && p.Endgame() {
		p.endgame = true
		p.MarkAll()
	}
	p.tellNews(now)
	for len(p.dirty) > 0 {
		todo := p.dirty
		p.dirty = p.dirtySpare[:0]
		for i, pe := range todo {
			todo[i], pe.dirty = nil, false
			if !pe.gone {
				p.decide(pe, now)
			}
		}
		p.dirtySpare = todo[:0]
	}
	acts := p.acts
	p.acts, p.actsSpare = p.actsSpare[:0], acts
	return acts
}

// decide is Decide for one peer.
func (p *Picker) decide(pe *Peer, now time.Duration) {
	p.shown = p.Reveals(pe, now, p.shown[:0])
	for _, i := range p.shown {
		p.acts = append(p.acts, Action{Kind: Tell, Peer: pe, Request: Request{Piece: i}})
	}
	if p.Done() {
		return
	}
	if pe.Interesting() && !pe.interested {
		pe.interested = true
		p.acts = append(p.acts, Action{Kind: Want, Peer: pe})
	}
	for !p.paused {
		reqs, blocked := p.Requests(pe, now, p.room, p.reqs[:0])
		p.reqs = reqs
		p.askAll(pe, reqs)
		if !blocked {
			return
		}
		if !p.grow() {
			p.starved = true
			p.askAll(pe, p.Help(pe, now, p.reqs[:0]))
			return
		}
	}
}

func (p *Picker) askAll(pe *Peer, reqs []Request) {
	if len(reqs) > 0 {
		p.tell(pe) // in the same packet
	}
	for _, r := range reqs {
		p.acts = append(p.acts, Action{Kind: Ask, Peer: pe, Request: r})
	}
}

// grow asks the owner for room for more pieces.
func (p *Picker) grow() bool {
	n := 0
	if p.cfg.Grow != nil {
		n = p.cfg.Grow()
	}
	p.room += n
	return n > 0
}

// Room is for how many pieces there is memory.
func (p *Picker) Room() int { return p.room }

// Shrink gives back the room that no piece needs, in pieces.
func (p *Picker) Shrink() int {
	n := max(0, p.room-len(p.active))
	p.room -= n
	return n
}

// End gives back all room; nothing is asked for any more.
func (p *Picker) End() int {
	n := p.room
	p.room, p.paused = 0, true
	return n
}
