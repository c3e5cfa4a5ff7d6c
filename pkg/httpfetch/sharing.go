package httpfetch

import (
	"slices"
	"time"
)

// What the Fetcher and its Sink tell each other about pieces.

// changed is called when the Sink may have something to claim again, or wants
// something back.
func (f *Fetcher) changed() {
	var yield, drop []int
	if f.sharer != nil {
		yield = f.sharer.Yield()
	}
	f.mu.Lock()
	f.dry = time.Time{}
	f.changes++
	for _, i := range yield {
		if f.board.yield(i) {
			drop = append(drop, i)
		}
	}
	if len(yield) > 0 {
		f.endPointless()
	}
	f.ring()
	f.mu.Unlock()
	slices.Sort(drop)
	f.unclaim(drop)
}

// endPointless ends the connections over which nothing comes any more but what
// another brings as well, so that a slow line has room for what is still wanted.
func (f *Fetcher) endPointless() {
	for l := range f.lanes {
		if l.aborted || l.busy || l.idle || len(l.runs) == 0 {
			continue
		}
		var n int64
		all := true
		for _, r := range l.runs {
			k, ok := f.board.pointless(r)
			n, all = n+k, all && ok
		}
		if all && n > smallBody {
			f.abort(l)
		}
	}
}

// report tells the sharer what has come. The lock is not held.
func (f *Fetcher) report() {
	if f.sharer == nil {
		return
	}
	f.mu.Lock()
	n := f.got64 - f.told64
	f.told64 = f.got64
	f.mu.Unlock()
	if n > 0 {
		f.sharer.Received(n)
	}
}

// forsaken gives up pieces that nobody is fetching.
func (f *Fetcher) forsaken(now time.Time) []int {
	if len(f.lanes) > 0 || len(f.board.pieces) == 0 {
		f.lonely = time.Time{}
		return nil
	}
	if f.lonely.IsZero() {
		f.lonely = now
	}
	if now.Sub(f.lonely) < lonelyTime {
		return nil
	}
	return f.board.dropAll()
}

// unclaim gives pieces back to the Sink. The lock is not held.
func (f *Fetcher) unclaim(pieces []int) {
	for i := 0; i < len(pieces); {
		j := i + 1
		for j < len(pieces) && pieces[j] == pieces[j-1]+1 {
			j++
		}
		f.sink.Unclaim(pieces[i], j-i)
		i = j
	}
	if len(pieces) > 0 {
		f.mu.Lock()
		f.dry = time.Time{}
		f.changes++
		f.mu.Unlock()
		f.poke()
	}
}
