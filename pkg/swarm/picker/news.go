package picker

import "time"

// News of a piece may wait a little: each HAVE for itself is a packet and wakes
// two programs, and with sixteen peers there were more of them than packets of
// data. A piece takes a peer much longer than this to send, so that nobody runs
// out of work meanwhile.
const (
	// newsPart is which part of the time that a peer needs for a piece its news
	// may wait.
	newsPart = 8
	maxNews  = 20 * time.Millisecond
)

// told lets the peers know of a piece that can be had here.
func (p *Picker) told(i int, now time.Duration) {
	for _, pe := range p.peers {
		switch {
		case p.dir != nil && !pe.view.exempt:
			p.mark(pe)
		case p.dir == nil && pe.view.exempt:
			// A directing seed waits for this to show us the next piece.
			p.acts = append(p.acts, Action{Kind: Tell, Peer: pe, Request: Request{Piece: i}})
		case pe.wholesale, pe.kin && pe.have.has(i):
			// It has the piece, and learns that we have them all from TellAll.
		default:
			pe.news = append(pe.news, i)
			if p.newsDue == 0 {
				p.newsDue = max(1, now+p.newsDelay(now))
			}
		}
	}
	if p.Done() {
		p.newsDue = max(1, now)
	}
}

// newsDelay is how long news may wait.
func (p *Picker) newsDelay(now time.Duration) time.Duration {
	each := max(1, p.flow.rate.At(now)/float64(max(1, p.flow.peers)))
	d := float64(p.cfg.PieceLength) / each / newsPart
	return time.Duration(min(maxNews.Seconds(), d) * float64(time.Second))
}

// Due is when Decide wants to be called at the latest; 0 is never.
func (p *Picker) Due() time.Duration { return p.newsDue }

// tellNews tells every peer its news when they have waited long enough.
func (p *Picker) tellNews(now time.Duration) {
	if p.newsDue == 0 || now < p.newsDue {
		return
	}
	p.newsDue = 0
	for _, pe := range p.peers {
		// Of directing seeds only such know what the other has.
		knows := pe.view.exempt == (p.dir != nil)
		if p.Complete() && pe.kin && knows && !pe.wholesale && !pe.toldAll {
			pe.news, pe.toldAll = pe.news[:0], true
			p.acts = append(p.acts, Action{Kind: TellAll, Peer: pe})
		}
		p.tell(pe)
	}
}

// tell tells the peer its news.
func (p *Picker) tell(pe *Peer) {
	for _, i := range pe.news {
		p.acts = append(p.acts, Action{Kind: Tell, Peer: pe, Request: Request{Piece: i}})
	}
	pe.news = pe.news[:0]
}
