package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"distd/internal/config"
)

// TestLargeTreeIsBounded: a release of very many files takes no more open files than
// one of some, and each further release of them little memory for each file: what
// it has in common with the one before is there once.
func TestLargeTreeIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("publishes 4,000 files four times")
	}
	const files, folders, releases = 4_000, 200, 4
	source := filepath.Join(t.TempDir(), "site")
	file := func(i int) string {
		return filepath.Join(source, fmt.Sprintf("%s-%03d", strings.Repeat("folder", 2), i%folders), fmt.Sprintf("file-%05d", i))
	}
	for i := range files {
		if err := os.MkdirAll(filepath.Dir(file(i)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file(i), fmt.Appendf(nil, "file %d", i), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	before := openFiles(t)
	most := mostOpenFiles(t)
	mc := defaults(config.RoleMaster)
	mc.Listen, mc.Keep = "127.0.0.1:0", 1<<20
	master := runNode(t, mc)
	sc := defaults(config.RoleSeed)
	sc.Listen, sc.Keep, sc.Master = "127.0.0.1:0", 1<<20, "http://"+master.http.Addr().String()
	seed := runNode(t, sc)
	lc := defaults(config.RoleLeaf)
	lc.Keep, lc.Channel, lc.Seed = 1<<20, []string{"web"}, []string{"http://" + seed.http.Addr().String()}
	leaf := runNode(t, lc)
	// push publishes what is there and waits until it is live and all is at rest.
	push := func(serial int) {
		t.Helper()
		r, err := master.Publish(t.Context(), PublishRequest{Path: source, Channel: "web"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []*Node{seed, leaf} {
			eventually(t, func() bool {
				id, _ := n.store.Live("web")
				return id == r.ID && len(resting(n)) == serial && n.store.Spare(id)
			})
		}
	}
	push(1)
	first := heap()
	for serial := 2; serial <= releases; serial++ {
		if err := os.WriteFile(file(serial), fmt.Appendf(nil, "changed for %d", serial), 0o644); err != nil {
			t.Fatal(err)
		}
		push(serial)
	}
	perFile := (heap() - first) / (files * (releases - 1))
	t.Logf("%d open files at most, %d bytes for each file of a further release in three nodes", most()-before, perFile)
	if n := most() - before; n > 600 {
		t.Errorf("%d files were open at once in three nodes", n)
	}
	if perFile > 1000 {
		t.Errorf("three nodes hold %d bytes for each file of each further release", perFile)
	}
}

// mostOpenFiles counts this process's open files until it is asked.
func mostOpenFiles(t *testing.T) func() int {
	var most int
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			most = max(most, openFiles(t))
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	})
	end := sync.OnceFunc(func() {
		close(stop)
		wg.Wait()
	})
	t.Cleanup(end)
	return func() int {
		end()
		return most
	}
}
