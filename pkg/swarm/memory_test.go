package swarm

import (
	"sync"
	"testing"
)

// TestBudgetOfSeveralTorrents is for the race detector: one torrent gives memory
// back while another gets out of the line for it.
func TestBudgetOfSeveralTorrents(t *testing.T) {
	b := newBudget(1000)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			var tor Torrent
			for range 20000 {
				if b.take(&tor, 1) {
					b.give(1)
				}
				b.forget(&tor)
			}
		})
	}
	wg.Wait()
	if b.inUse() != 0 || b.wanted() {
		t.Errorf("%d bytes in use, wanted: %v", b.inUse(), b.wanted())
	}
}
