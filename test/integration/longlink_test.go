package integration

import (
	"context"
	"os"
	"testing"
	"time"

	"distd/test/netlab"
)

// lossy is a long link on which something is always lost.
var lossy = netlab.Long{Mbit: 50, Delay: 20 * time.Millisecond, Loss: 0.005, Seed: 1}

func needLongLinks(t *testing.T) {
	t.Helper()
	needRoot(t)
	need(t, "ip")
	need(t, "tc")
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// tcpBytes is the bytes that TCP has carried, without the headers of its packets.
func tcpBytes(c netlab.Carried) int64 { return c.Bytes - 52*c.Packets }

// TestFetchOverLongLink fetches a file from a master: the bytes are right, and
// hardly any crosses the link twice.
func TestFetchOverLongLink(t *testing.T) {
	needLongLinks(t)
	const size = 32<<20 + 321
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	w, err := netlab.NewWan(ctx, netlab.WanSpec{Distd: bin, Dir: t.TempDir(), Server: "distd", Size: size, Links: []netlab.Long{lossy}})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	f, err := w.Fetch(ctx, func(dir string) []string {
		return []string{bin, "fetch", "-d", dir, "-ca=" + w.CA, "-listen=", w.URLs[0]}
	})
	must(t, err)
	c := f.Over[0]
	if c.Lost == 0 {
		t.Errorf("the link lost nothing: %v", c)
	}
	if copies := float64(tcpBytes(c)) / size; copies < 1 || copies > 1.25 { // 1.05 on a quiet machine
		t.Errorf("%.2f copies crossed the link: %v", copies, c)
	}
}

// TestZonesOverLongLinks brings a release to a datacenter; with two seeds one of them
// dies, or its long link hangs, on the way.
func TestZonesOverLongLinks(t *testing.T) {
	notShort(t)
	for _, c := range []struct {
		name  string
		seeds int
		fault netlab.ZoneFault
	}{
		{"one seed", 1, nil},
		{"two seeds", 2, nil},
		{"one of two seeds killed", 2, netlab.At(0.3, netlab.KillSeed)},
		{"one of two links hangs", 2, netlab.At(0.3, netlab.HangLink)},
	} {
		t.Run(c.name, func(t *testing.T) {
			needLongLinks(t)
			ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
			defer stop()
			start := time.Now()
			z, err := netlab.NewZones(ctx, netlab.ZonesSpec{Distd: bin, Dir: t.TempDir(), Zones: 1, Seeds: c.seeds, Leaves: 2, Size: 8<<20 + 321, Files: 3,
				Wan: lossy, Lan: netlab.Cable{Mbit: 100}, Partners: c.seeds > 1})
			must(t, err)
			t.Cleanup(func() { must(t, z.Close()) })
			if err := z.Run(ctx, c.fault); err != nil {
				t.Error(err)
			}
			took := time.Since(z.Published)
			t.Logf("all followed each other after %v; the last hook ran %v after the publish began", z.Published.Sub(start), took)
			for who, err := range z.Differ(t.Context()) {
				t.Errorf("%s: %v", who, err)
			}
			for _, n := range z.Zones[0].Leaves {
				if runs := n.HookRuns(); runs != 1 {
					t.Errorf("the hook of %s ran %d times", n.Name, runs)
				}
			}
			if t.Failed() || took > 30*time.Second { // a look into why
				for _, n := range append(z.Zones[0].Leaves, z.Master, z.Zones[0].Seeds[0].Node) {
					t.Logf("%s printed:\n%s", n.Name, n.Log(2000))
				}
			}
		})
	}
}
