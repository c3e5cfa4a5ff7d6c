package store

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
)

// TestConcurrentUse lets channels publish at the same time while others read,
// verify and prune.
func TestConcurrentUse(t *testing.T) {
	s := mustOpen(t, fastDir(t))
	const channels, serials = 4, 6
	release := func(c int, serial uint64) *fixture {
		name := fmt.Sprintf("n%d", c)
		if c%2 == 0 {
			return makeFixture(fmt.Sprintf("c%d", c), name, serial, map[string]string{name: strings.Repeat("f", int(serial))})
		}
		return makeFixture(fmt.Sprintf("c%d", c), name, serial, map[string]string{"d/f": strings.Repeat("t", int(serial))})
	}
	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for c := range channels {
		writers.Go(func() {
			for serial := range uint64(serials) {
				publish(t, s, release(c, serial+1), WithHook())
				for _, p := range s.PendingHooks() {
					if r, err := s.Release(p.ID); err == nil && r.Manifest.Name == fmt.Sprintf("n%d", c) {
						_, err := s.HookStart(p.ID)
						check(t, errors.Join(err, s.HookDone(p.ID, "ok")))
					}
				}
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := s.Prune(t.Context(), 2, nil); err != nil {
					t.Error(err)
				}
				for _, c := range s.Channels() {
					if _, _, p, err := s.Pointer(c); err != nil || p.Channel != c {
						t.Error(p, err)
					}
				}
				for _, r := range s.Releases() {
					s.Named(r.Manifest.Name)
					if _, err := s.Verify(t.Context(), r.ID, nil); err != nil && !errors.Is(err, fs.ErrNotExist) {
						t.Error(err)
					}
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	for c := range channels {
		wantLive(t, s, release(c, serials))
	}
	if n := len(s.PendingHooks()); n != 0 {
		t.Errorf("%d hooks are pending", n)
	}
}
