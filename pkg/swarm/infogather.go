package swarm

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"distd/pkg/swarm/wire"
)

const (
	// infoWindow and docsWindow are how many parts a peer is asked for at once:
	// clients refuse what would pile up before a peer that does not read. Both
	// together are below maxMetaWaiting.
	infoWindow = 8
	docsWindow = 6
	// maxShared is up to which size several peers are asked for all of it at once.
	// What is larger comes from one, and from a further one each leadTime, up to
	// maxLeads: then the slowest gives way, so that what is held stays bounded and
	// nobody can hold up the others by being slow.
	maxShared = 256 << 10
	leadTime  = 5 * time.Second
	maxLeads  = 3
)

// Reasons why a peer does not bring what is sought.
var (
	errNotThere  = errors.New("peer does not have it either")
	errRefused   = errors.New("peer refuses a part")
	errBadPart   = errors.New("what the peer sent was not asked for")
	errChatter   = errors.New("peer sends much, and nothing of what it was asked for")
	errElsewhere = errors.New("another peer is sending it")
	errBadInfo   = errors.New("what the peer sent is not the torrent's info")
	errBadDocs   = errors.New("what the peer sent are not the release's documents")
)

// sought is what one run of an InfoFetch looks for: the info dictionary, or the
// documents. All connections share it.
type sought struct {
	name  string
	check func([]byte) error

	checking sync.Mutex

	mu    sync.Mutex
	found bool
	data  []byte
	leads []*gather // over which something large comes
	led   time.Time // when the last of them began
}

// missing says whether it has not come yet. A nil sought is not looked for.
func (s *sought) missing() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.found
}

// result is what has come, or nil.
func (s *sought) result() []byte {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data
}

// take checks what one peer sent, one at a time because it may be large.
func (s *sought) take(data []byte) error {
	s.checking.Lock()
	defer s.checking.Unlock()
	if !s.missing() {
		return nil
	}
	if err := s.check(data); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found, s.data = true, data
	return nil
}

// lead says whether one more connection should bring something large.
func (s *sought) lead(g *gather, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.leads) > 0 && now.Sub(s.led) < leadTime {
		return false
	}
	if len(s.leads) >= maxLeads {
		slowest := slices.MinFunc(s.leads, func(a, b *gather) int { return cmp.Compare(a.rate(now), b.rate(now)) })
		slowest.passed.Store(true)
		s.remove(slowest)
	}
	g.since = now
	s.leads = append(s.leads, g)
	s.led = now
	return true
}

// remove takes a gather out of those that lead; the lock is held.
func (s *sought) remove(g *gather) {
	s.leads = slices.DeleteFunc(s.leads, func(o *gather) bool { return o == g })
}

func (s *sought) unlead(g *gather) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(g)
}

// rate is how many parts have come in a second since it leads.
func (g *gather) rate(now time.Time) float64 {
	return float64(g.came.Load()) / max(now.Sub(g.since).Seconds(), 1)
}

// gather puts together what one peer sends of what is sought.
type gather struct {
	of     *sought
	ask    *infoAsk
	window int
	decode func([]byte) (*wire.MetadataMsg, error)

	to    uint8 // the peer's number for such messages
	size  int   // in bytes; 0 until the peer has said it
	asked int   // parts
	parts map[int][]byte
	leads bool
	since time.Time    // it leads; under the lock of what is sought
	came  atomic.Int32 // parts
	// passed says that it is to give way to another.
	passed atomic.Bool
	over   bool  // nothing more is to be had from this peer
	err    error // why
}

// open says whether the peer may still bring it.
func (g *gather) open() bool { return !g.over && g.of.missing() }

// end gives the peer up for this.
func (g *gather) end(err error) {
	if g.leads {
		g.of.unlead(g)
	}
	g.leads, g.over, g.err, g.parts = false, true, err, nil
}

// begin asks for the first parts, once the peer has said what it has.
func (g *gather) begin(to uint8, size int) error {
	if !g.open() {
		return nil
	}
	if g.to = to; to == 0 {
		g.end(errNotThere)
		return nil
	}
	if size > 0 && !g.sized(size) {
		return nil
	}
	return g.more()
}

// sized takes note of the size, and reports whether this connection goes on.
func (g *gather) sized(size int) bool {
	g.size = size
	if size > maxShared && !g.of.lead(g, time.Now()) {
		g.end(errElsewhere)
		return false
	}
	g.leads = size > maxShared
	return true
}

// more asks for the next parts, a few ahead of those that have come: for the
// first alone while the size is not known.
func (g *gather) more() error {
	for ; g.asked < min(len(g.parts)+g.window, max(wire.MetadataParts(g.size), 1)); g.asked++ {
		m := wire.MetadataMsg{Kind: wire.MetadataRequest, Piece: g.asked}
		if err := g.ask.send(g.to, m.Encode()); err != nil {
			return err
		}
	}
	return nil
}

// message takes in a message, and reports whether it brought the end nearer. An
// error is one of the peer as a whole.
func (g *gather) message(data []byte) (bool, error) {
	m, err := g.decode(data)
	if err != nil {
		return false, err
	}
	switch m.Kind {
	case wire.MetadataRequest:
		if g.to == 0 {
			return false, nil
		}
		no := wire.MetadataMsg{Kind: wire.MetadataReject, Piece: m.Piece}
		return false, g.ask.send(g.to, no.Encode())
	case wire.MetadataReject:
		if g.open() {
			g.end(errRefused)
		}
		return false, nil
	case wire.MetadataData:
		return g.part(m)
	}
	return false, nil
}

func (g *gather) part(m *wire.MetadataMsg) (bool, error) {
	if !g.open() {
		return false, nil // it was given up after it was asked for
	}
	if g.passed.Load() {
		g.end(errElsewhere)
		return false, nil
	}
	if m.Piece >= g.asked || g.size != 0 && m.TotalSize != g.size {
		return false, fmt.Errorf("%w: part %d of %d bytes of the %s", errBadPart, m.Piece, m.TotalSize, g.of.name)
	}
	if g.size == 0 && !g.sized(m.TotalSize) {
		return true, nil
	}
	if g.parts[m.Piece] != nil {
		return false, fmt.Errorf("%w: part %d of the %s a second time", errBadPart, m.Piece, g.of.name)
	}
	g.parts[m.Piece] = bytes.Clone(m.Data)
	g.came.Add(1)
	if len(g.parts) < wire.MetadataParts(g.size) {
		return true, g.more()
	}
	whole := make([]byte, 0, g.size)
	for i := range len(g.parts) {
		whole = append(whole, g.parts[i]...)
		delete(g.parts, i)
	}
	err := g.of.take(whole)
	g.end(err)
	return err == nil, err
}
