package integration

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// zoneSize is the content of the tests with several seeds, and lineRate what the
// line of each carries, in bytes a second.
const (
	zoneSize = 12 << 20
	lineRate = 4 << 20
)

// newSeeds starts the seeds of one datacenter, each with an upstream of its own.
// All have the same list of seeds.
// Few connections keep down what is under way to one that hangs.
func newSeeds(t *testing.T, master *member, upstreams ...string) []*member {
	t.Helper()
	var seeds []*member
	var list []string
	for _, up := range upstreams {
		m := &member{t: t, role: "seed", addr: host(t), dir: filepath.Join(t.TempDir(), "seed")}
		m.args = []string{"-role=seed", "-master=" + up, "-ca=" + master.ca(), "-dir=" + m.dir, "-listen=" + m.addr + ":6969", "-peer-listen=" + m.addr + ":6881", "-mirror-conns=8"}
		seeds = append(seeds, m)
		list = append(list, "-seed="+m.url())
	}
	for _, m := range seeds {
		m.args = append(m.args, list...)
		m.restart()
	}
	return seeds
}

// lines are throttled ways to the master, and their URLs.
func lines(t *testing.T, master *member, n int) (ways []*throttle, urls []string) {
	t.Helper()
	for range n {
		w := newThrottle(t, master.addr+":8443", lineRate)
		ways, urls = append(ways, w), append(urls, "https://"+w.addr)
	}
	return ways, urls
}

func carried(ways []*throttle) (sum int64) {
	for _, w := range ways {
		sum += w.carried.Load()
	}
	return sum
}

// oneCopy fails when the lines carried more than one copy and what goes with it:
// TLS, headers, manifest and torrent.
func oneCopy(t *testing.T, ways []*throttle, more int64) {
	t.Helper()
	if got, most := carried(ways), int64(zoneSize+zoneSize/12)+more; got > most {
		t.Errorf("%d bytes came over the lines for content of %d, want at most %d", got, zoneSize, most)
	}
}

// TestSeedsShareOneCopy: each of three seeds brings a part, together one copy.
func TestSeedsShareOneCopy(t *testing.T) {
	master := newMaster(t)
	ways, urls := lines(t, master, 3)
	seeds := newSeeds(t, master, urls...)
	leaf := newLeaf(t, seeds[0], "-seed="+seeds[1].url())
	path, data := payload(t, "x.bin", zoneSize)
	master.publish("web", path)
	awaitFile(t, 60*time.Second, filepath.Join(leaf.dir, "x.bin"), data)
	var mirrors int64
	for i, s := range seeds {
		awaitFile(t, 30*time.Second, filepath.Join(s.dir, "x.bin"), data)
		r := s.release("web", 1)
		mirrors += r.FromMirrors
		if ways[i].carried.Load() < zoneSize/10 {
			t.Errorf("seed %d fetched %d bytes only", i, ways[i].carried.Load())
		}
	}
	if mirrors > zoneSize+zoneSize/30 {
		t.Errorf("%d bytes from mirrors, of %d", mirrors, zoneSize)
	}
	oneCopy(t, ways, 0)
}

// TestSeedsTakeOver: one of two seeds is killed or hangs in the middle, and the
// other brings what it would have brought. One that comes back is used again.
func TestSeedsTakeOver(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(m *member)
		back func(m *member)
	}{
		{"killed", func(m *member) { m.kill9() }, (*member).restart},
		{"hangs", func(m *member) { m.signal(syscall.SIGSTOP) }, func(m *member) { m.signal(syscall.SIGCONT) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			master := newMaster(t)
			ways, urls := lines(t, master, 2)
			seeds := newSeeds(t, master, urls...)
			leaf := newLeaf(t, seeds[1], "-seed="+seeds[0].url())
			path, data := payload(t, "x.bin", zoneSize)
			master.publish("web", path)
			await(t, 30*time.Second, "a third has come", func() bool { return carried(ways) > zoneSize/3 })
			c.do(seeds[0])
			awaitFile(t, 60*time.Second, filepath.Join(leaf.dir, "x.bin"), data)
			awaitFile(t, 30*time.Second, filepath.Join(seeds[1].dir, "x.bin"), data)
			// What the first had and had not passed on is fetched again.
			oneCopy(t, ways, zoneSize/6)
			c.back(seeds[0])
			awaitFile(t, 60*time.Second, filepath.Join(seeds[0].dir, "x.bin"), data)
			oneCopy(t, ways, zoneSize/4)
		})
	}
}

func (m *member) signal(s syscall.Signal) { _ = syscall.Kill(m.cmd.Process.Pid, s) }

// TestSeedWithADeadLine hears of a release from the other seed, and has all from
// it.
func TestSeedWithADeadLine(t *testing.T) {
	master := newMaster(t)
	seeds := newSeeds(t, master, master.url(), "https://127.0.0.1:9")
	path, data := payload(t, "x.bin", 3<<20)
	master.publish("web", path)
	awaitFile(t, 60*time.Second, filepath.Join(seeds[1].dir, "x.bin"), data)
	if r := seeds[1].release("web", 1); r.FromMirrors != 0 {
		t.Errorf("%d bytes from mirrors over a dead line", r.FromMirrors)
	}
}

// TestLeavesFallBack: the only seed is killed in the middle, and the leaves fetch
// the rest from the master, one copy together, and the next release too.
func TestLeavesFallBack(t *testing.T) {
	notShort(t)
	master := newMaster(t)
	ways, urls := lines(t, master, 4)
	seed := newSeed(t, master, urls[0])
	var leaves []*member
	for i := range 3 {
		leaves = append(leaves, newLeaf(t, seed, "-master="+urls[i+1], "-ca="+master.ca(), "-wan-fallback=after 2s"))
	}
	path, data := payload(t, "x.bin", zoneSize)
	master.publish("web", path)
	await(t, 30*time.Second, "a third has come", func() bool { return carried(ways) > zoneSize/3 })
	if got := carried(ways[1:]); got != 0 {
		t.Errorf("leaves fetched %d bytes beside a seed", got)
	}
	spare := func() (n int) {
		for _, l := range leaves {
			if s, err := l.status(); err == nil && s.Upstream[0].Spare {
				n++
			}
		}
		return n
	}
	if spare() != len(leaves) {
		t.Errorf("%d of %d leaves follow the master only without a seed", spare(), len(leaves))
	}
	seed.kill9()
	for _, l := range leaves {
		awaitFile(t, 90*time.Second, filepath.Join(l.dir, "x.bin"), data)
	}
	await(t, 30*time.Second, "the leaves follow the master", func() bool { return spare() == 0 })
	// The seed dies with some pieces that it had just got.
	oneCopy(t, ways, zoneSize/4)
	if !strings.Contains(leaves[0].log()+leaves[1].log()+leaves[2].log(), "no seed is there") {
		t.Error("no leaf said that it fetches by itself")
	}

	before := carried(ways)
	path, data = payload(t, "y.bin", zoneSize)
	master.publish("web", path)
	for _, l := range leaves {
		awaitFile(t, 90*time.Second, filepath.Join(l.dir, "y.bin"), data)
	}
	t.Logf("%.2f copies of a release for three leaves without a seed", float64(carried(ways)-before)/zoneSize)
	if got := carried(ways) - before; got > zoneSize*3/2 {
		t.Errorf("%d bytes came over the lines for content of %d", got, zoneSize)
	}
	seed.restart()
	await(t, 60*time.Second, "the leaves follow the seed again", func() bool { return spare() == len(leaves) })
}
