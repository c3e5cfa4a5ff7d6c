package serve

import (
	"net/netip"
	"sync"
)

// limiter counts things in all and by address. Loopback addresses, and clients
// without one, count in all only: what runs on this host is not hostile, and a
// proxy in front is one address for all.
type limiter struct {
	mu             sync.Mutex
	total, perAddr int
	n              int
	byAddr         map[netip.Addr]int
}

func newLimiter(total, perAddr int) *limiter {
	return &limiter{total: total, perAddr: perAddr, byAddr: map[netip.Addr]int{}}
}

func counted(a netip.Addr) bool { return a.IsValid() && !a.IsLoopback() }

// add counts one more and returns "", or counts nothing and returns which
// limit is reached.
func (l *limiter) add(a netip.Addr) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.n >= l.total:
		return refusedFull
	case counted(a) && l.byAddr[a] >= l.perAddr:
		return refusedAddr
	}
	l.n++
	if counted(a) {
		l.byAddr[a]++
	}
	return ""
}

// remove takes back an add.
func (l *limiter) remove(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n--
	if !counted(a) {
		return
	}
	if l.byAddr[a]--; l.byAddr[a] <= 0 {
		delete(l.byAddr, a)
	}
}
