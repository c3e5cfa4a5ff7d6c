package store

import (
	"sync"
	"testing"
)

// TestStageAgain: what is known of a release may be read while it is staged again.
// The race detector sees otherwise.
func TestStageAgain(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	f := tree(2, "y")
	for _, f := range []*fixture{tree(1, "x"), f} {
		stage(t, s, f)
	}
	var readers sync.WaitGroup
	readers.Go(func() {
		for range 1000 {
			for i := range f.m.Files {
				if f.m.Files[i].Path == "" {
					t.Error("a file without a path")
				}
			}
		}
	})
	for range 20 {
		stage(t, s, f)
	}
	readers.Wait()
}
