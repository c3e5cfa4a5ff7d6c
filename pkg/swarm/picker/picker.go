package picker

import (
	"math/rand/v2"
	"time"
)

// BlockSize is the length of a request in bytes; the last block of a piece
// may be shorter.
const BlockSize = 16 * kib

// Config describes the torrent that is decided about.
type Config struct {
	// Pieces is the number of pieces, PieceLength their length in bytes and
	// LastLength that of the last one.
	Pieces      int
	PieceLength int64
	LastLength  int64
	// Have says which pieces are there already; nil means none.
	Have func(piece int) bool
	// Want says which pieces are ever to be fetched; nil means all.
	Want func(piece int) bool
	// Directing makes Reveals hand out the pieces to leaves.
	Directing bool
	// ID tells directing seeds of one swarm apart, so that they can split the
	// pieces between them; see Exempt.
	ID uint64
	// OneCopy is for content of which the sources that are no peers should bring
	// one copy to all that know each other; see Claim.
	OneCopy bool
	// Contended says that others may be about to claim pieces at the same moment.
	Contended bool
	// Grow asks the owner for memory for more pieces and returns for how many
	// it was granted; nil grants none. Decide calls it.
	Grow func() int
	// Seed makes the random choices repeatable.
	Seed uint64
	// Without switches rules off, to see what each is worth.
	Without Rule
}

// Request names a block.
type Request struct {
	Piece, Begin, Length int
}

// Cancel says that a block asked of a peer is no longer wanted from it.
type Cancel struct {
	Peer *Peer
	Request
}

// Picker holds what is known about one torrent's pieces and peers.
type Picker struct {
	cfg  Config
	rng  *rand.Rand
	have bitset
	// free are the pieces that are missing and that nobody is fetching.
	free    bitset
	claimed bitset
	single  bitset // bad from a mixture of peers: fetch from one only
	all     bitset

	// unwanted are the pieces that are left where they are, and lacking is the
	// number of the others that are missing.
	unwanted bitset
	lacking  int

	haveCount, freeCount int
	avail                []int32 // peers that have the piece
	had                  bitset  // pieces that some peer has
	active               map[int]*piece
	orphans              []*piece // active without an owner, oldest first
	order                []*piece // all active, oldest first
	peers                []*Peer
	dir                  *director

	// Of Claim: where the next run begins, whether the last one got nothing, since
	// when nothing was open, what came of claims, and which of them to give up.
	cursor    int
	settled   bool
	dry       bool
	idleSince time.Duration
	own       fetchState
	shares    Shares
	yielded   []int
	prospect  prospect // of the last look
	words     []int    // a buffer of held

	flow      flow
	discarded int64 // bytes of blocks that came and were given up

	// What Decide works on.
	newsDue           time.Duration // when news must be told; 0: there is none
	room              int           // pieces that may hold a buffer
	paused, endgame   bool
	yields            bool // to a torrent of more use
	starved           bool // memory was short since Held was last called
	dirty, dirtySpare []*Peer
	acts, actsSpare   []Action
	reqs              []Request
	shown             []int
}

// New returns a Picker without peers.
func New(cfg Config) *Picker {
	p := &Picker{
		cfg: cfg, own: fetchState{id: cfg.ID}, rng: rand.New(rand.NewPCG(cfg.Seed, uint64(cfg.Pieces))),
		have: newBitset(cfg.Pieces), free: newBitset(cfg.Pieces), claimed: newBitset(cfg.Pieces),
		single: newBitset(cfg.Pieces), all: newBitset(cfg.Pieces), had: newBitset(cfg.Pieces), unwanted: newBitset(cfg.Pieces),
		avail: make([]int32, cfg.Pieces), active: make(map[int]*piece),
	}
	if cfg.Directing {
		p.dir = newDirector(cfg.Pieces, cfg.ID)
	}
	if cfg.Contended && cfg.Pieces > 0 {
		p.cursor = int(weigh(cfg.ID, 0) % uint64(cfg.Pieces))
	}
	for i := range cfg.Pieces {
		p.all.set(i)
		if cfg.Want != nil && !cfg.Want(i) {
			p.unwanted.set(i)
		}
		if cfg.Have != nil && cfg.Have(i) {
			p.have.set(i)
			p.haveCount++
			p.reveal(i)
		} else if !p.unwanted.has(i) {
			p.free.set(i)
			p.freeCount++
			p.lacking++
		}
	}
	return p
}

// Has reports whether the piece is there.
func (p *Picker) Has(i int) bool { return p.have.has(i) }

// Count is the number of pieces that are there.
func (p *Picker) Count() int { return p.haveCount }

// Done reports whether every piece is there that is wanted.
func (p *Picker) Done() bool { return p.lacking == 0 }

// Complete reports whether every piece is there, wanted or not.
func (p *Picker) Complete() bool { return p.haveCount == p.cfg.Pieces }

// lacks reports whether the piece is missing and wanted.
func (p *Picker) lacks(i int) bool { return !p.have.has(i) && !p.unwanted.has(i) }

// Buffered reports whether piece i holds a buffer; see Active.
func (p *Picker) Buffered(i int) bool { return p.active[i] != nil }

// Active is the number of pieces that hold a buffer: being fetched from
// peers, or complete and not yet verified.
func (p *Picker) Active() int { return len(p.active) }

// Endgame reports whether every missing piece is on its way from somewhere.
func (p *Picker) Endgame() bool { return p.freeCount == 0 && !p.Done() }

func (p *Picker) pieceLength(i int) int {
	if i == p.cfg.Pieces-1 {
		return int(p.cfg.LastLength)
	}
	return int(p.cfg.PieceLength)
}

func (p *Picker) take(i int) {
	if p.free.has(i) {
		p.free.clear(i)
		p.freeCount--
	}
}

func (p *Picker) giveBack(i int) {
	if !p.free.has(i) && p.lacks(i) && !p.claimed.has(i) {
		p.free.set(i)
		p.freeCount++
	}
}

// Got records that the piece is verified and stored, from whatever source,
// and returns what need not be sent any more.
func (p *Picker) Got(i int) []Cancel {
	if p.have.has(i) {
		return nil
	}
	cancels := p.drop(i)
	p.take(i)
	p.claimed.clear(i)
	p.single.clear(i)
	if p.lacks(i) {
		p.lacking--
		for _, pe := range p.peers {
			if pe.have.has(i) {
				pe.wanted--
			}
		}
	}
	p.have.set(i)
	p.haveCount++
	p.reveal(i)
	return cancels
}

// Lost records that a piece believed to be there is not: it is fetched again.
func (p *Picker) Lost(i int) {
	if !p.have.has(i) {
		return
	}
	p.have.clear(i)
	p.haveCount--
	p.endgame = false
	p.giveBack(i)
	if p.lacks(i) {
		p.lacking++
		for _, pe := range p.peers {
			if pe.have.has(i) {
				pe.wanted++
			}
		}
	}
	p.Hide(i)
}

// Hide takes a piece that is there but cannot be read out of the reveals, and
// frees those of it that are pending.
func (p *Picker) Hide(i int) {
	if p.dir == nil {
		return
	}
	p.dir.remove(i)
	p.dir.firsts.drop(i)
	for _, pe := range p.peers {
		if _, ok := pe.view.revealed[i]; ok {
			delete(pe.view.revealed, i)
			p.dir.crowd.shown--
			p.dir.dec(i)
		}
	}
}

// Show takes Hide back for a piece that is there.
func (p *Picker) Show(i int) {
	if p.have.has(i) {
		p.reveal(i)
	}
}

// forgotten is how long a peer may leave one request unanswered while it
// answers others; clients without the fast extension drop requests silently.
const forgotten = 2 * time.Minute

// Tick looks for peers that have stopped answering. It wants to be called
// some ten times a second, and reports whether blocks became free that other
// peers could be asked for, or pieces to claim.
func (p *Picker) Tick(now time.Duration) bool {
	freed, useful := false, 0
	for _, pe := range p.peers {
		if pe.wanted > 0 && !pe.choked {
			useful++
		}
		switch {
		case len(pe.out) == 0:
		case !pe.snubbed && pe.silence(now) > p.snubTime(pe):
			p.snub(pe)
			freed = true
		case now-pe.out[0].at > forgotten:
			p.unask(pe, 0)
			freed = true
		}
	}
	p.flow.update(useful, now)
	if !p.Done() {
		p.MarkAll()
	}
	p.unhold(now)
	p.callWaiting(now)
	return freed || p.dry && !p.Done() && p.claimableNow(now)
}
