package tracker

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func testKey(n int) peerKey {
	return makeKey(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 1000)
}

// checkSwarm holds the index against the lists and both against what should be
// there.
func checkSwarm(t *rapid.T, w *swarm, want map[peerKey]entry) {
	if w.len() != len(want) || len(w.index) != len(want) {
		t.Fatalf("%d peers, %d in the index, want %d", w.len(), len(w.index), len(want))
	}
	for k, e := range want {
		got := w.find(k)
		if got == nil || *got != e {
			t.Fatalf("peer %v is %v, want %v", k, got, e)
		}
		if (w.index[k] < 0) != e.seed() {
			t.Fatalf("peer %v is in the wrong list", k)
		}
	}
}

func TestSwarmAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &swarm{}
		model := map[peerKey]entry{}
		peer := rapid.IntRange(0, 40)
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				e := entry{key: testKey(peer.Draw(t, "peer")), left: int64(rapid.IntRange(-1, 1).Draw(t, "left")),
					expires: int32(rapid.IntRange(0, 10).Draw(t, "expires"))}
				w.put(e)
				model[e.key] = e
			},
			"remove": func(t *rapid.T) {
				k := testKey(peer.Draw(t, "peer"))
				_, had := model[k]
				delete(model, k)
				if w.remove(k) != had {
					t.Fatal("remove says the wrong thing")
				}
			},
			"expire": func(t *rapid.T) {
				now := int32(rapid.IntRange(0, 10).Draw(t, "now"))
				n := 0
				for k, e := range model {
					if e.expires <= now {
						delete(model, k)
						n++
					}
				}
				if got := w.expire(now); got != n {
					t.Fatalf("expired %d, want %d", got, n)
				}
			},
			"sample": func(t *rapid.T) {
				self := testKey(peer.Draw(t, "self"))
				want := rapid.IntRange(0, 50).Draw(t, "want")
				seeds := rapid.Bool().Draw(t, "seeds")
				seen := map[peerKey]bool{}
				for _, e := range w.sample(nil, want, self, [20]byte{1}, seeds, -1) {
					m, ok := model[e.key]
					if !ok || m != e || seen[e.key] || e.key == self || e.seed() && !seeds {
						t.Fatalf("sample has %v", e)
					}
					seen[e.key] = true
				}
				possible := 0
				for k, e := range model {
					if k != self && (seeds || !e.seed()) {
						possible++
					}
				}
				// At most one is lost to the one who asks.
				if least := min(want, possible); len(seen) > want || len(seen) < least {
					t.Fatalf("sample has %d peers, want %d", len(seen), least)
				}
			},
			"": func(t *rapid.T) { checkSwarm(t, w, model) },
		})
	})
}

func TestSampleIsEven(t *testing.T) {
	w := &swarm{}
	const n, want, rounds = 97, 10, 20_000
	for i := range n {
		w.put(entry{key: testKey(i), left: int64(i % 2), expires: 1})
	}
	count := map[peerKey]int{}
	for range rounds {
		for _, e := range w.sample(nil, want, peerKey{}, [20]byte{1}, true, 0) {
			count[e.key]++
		}
	}
	mean := float64(rounds*want) / n
	for k, c := range count {
		if math.Abs(float64(c)-mean) > mean/5 {
			t.Errorf("peer %v was given %d times, others %.0f", k.addr(), c, mean)
		}
	}
	if len(count) != n {
		t.Errorf("%d of %d peers were ever given", len(count), n)
	}
}

func TestSwarmGivesMemoryBack(t *testing.T) {
	w := &swarm{}
	for i := range 10_000 {
		w.put(entry{key: testKey(i), left: 1})
	}
	for _, i := range rand.Perm(10_000) {
		w.remove(testKey(i))
	}
	if cap(w.leeches) > 64 || w.index != nil {
		t.Errorf("an empty swarm holds room for %d peers", cap(w.leeches))
	}
}

func TestSampleDoesNotAllocate(t *testing.T) {
	w := &swarm{}
	for i := range 1000 {
		w.put(entry{key: testKey(i), left: 1, expires: 1})
	}
	dst := make([]entry, 0, 50)
	if n := testing.AllocsPerRun(100, func() { dst = w.sample(dst[:0], 50, testKey(5), [20]byte{1}, true, 0) }); n != 0 || len(dst) != 50 {
		t.Errorf("%v allocations for %d peers", n, len(dst))
	}
}
