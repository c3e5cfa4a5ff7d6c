package picker

// Rule names a scheduling rule. Each stands in a unit of its own with its
// reason; Config.Without switches some off, so that a simulation can show what
// each is worth.
type Rule uint

const (
	// Directing has a seed show each leaf a few pieces at a time (direct.go).
	// Without it the seed advertises everything.
	Directing Rule = 1 << iota
	// FewestFirst has it show the piece with the fewest copies
	// (direct.go). Without it, any.
	FewestFirst
	// FirstCopies has it show nothing else while enough pieces are on their
	// first way out (first.go).
	FirstCopies
	// FewShown has it show no more than some pieces to all leaves together
	// (crowd.go).
	FewShown
	// Splitting has directing seeds that know each other begin with different
	// pieces (share.go).
	Splitting
	// AskAll has every peer asked that has something (request.go). Without it,
	// only four at a time, as clients that choke do.
	AskAll
	// ShortQueues has little asked ahead (depth.go). Without it, 2 MiB of each.
	ShortQueues
	// RarestFirst has the piece begun first that the fewest peers have
	// (request.go). Without it, any.
	RarestFirst
	// WholePieces has a piece come from one peer (request.go). Without it, its
	// blocks are asked of whoever is free.
	WholePieces
	// TailTwice has a slow peer's blocks asked of another one, too, at the very
	// end (tail.go).
	TailTwice
)

// Rules are all of them with their names, in the order of a table.
var Rules = []struct {
	Rule Rule
	Name string
}{
	{Directing, "directing seed"},
	{FewestFirst, "fewest copies first"},
	{FirstCopies, "first copies first"},
	{FewShown, "few pieces shown in all"},
	{Splitting, "seeds split the pieces"},
	{AskAll, "every holder asked"},
	{ShortQueues, "short queues"},
	{RarestFirst, "rarest first"},
	{WholePieces, "whole piece from one peer"},
	{TailTwice, "duplicates at the end"},
}

func (p *Picker) without(r Rule) bool { return p.cfg.Without&r != 0 }

// fewAsked is how many peers are asked at once without AskAll.
const fewAsked = 4

// holdBack reports whether the peer must wait for others without AskAll.
func (p *Picker) holdBack(pe *Peer) bool {
	if !p.without(AskAll) || len(pe.out) > 0 {
		return false
	}
	n := 0
	for _, o := range p.peers {
		if len(o.out) > 0 {
			n++
		}
	}
	return n >= fewAsked
}

// shared finds an unasked block in any piece that the peer has, without
// WholePieces.
func (p *Picker) shared(pe *Peer) (*piece, int, bool) {
	for _, a := range p.order {
		if a.owner == pe || a.full() || !pe.may(a.index) {
			continue
		}
		if b, ok := a.unasked(); ok {
			return a, b, true
		}
	}
	return nil, 0, false
}
