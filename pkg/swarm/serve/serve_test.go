package serve

import (
	"slices"
	"testing"
	"time"
)

// owners are those of the turns that have come.
func owners(l *Line) (names []any) {
	for _, t := range l.Granted() {
		names = append(names, t.Owner)
	}
	return names
}

func ask(l *Line, name string, priority uint64, pieces int, now time.Duration) *Turn {
	t := &Turn{Owner: name}
	l.Ask(t, priority, pieces, now)
	return t
}

func TestThePoorestAreServedFirst(t *testing.T) {
	l := NewLine(1)
	first := ask(l, "first", 0, 5, 0)
	ask(l, "rich", 0, 9, 0)
	ask(l, "poor", 0, 1, 0)
	newer := ask(l, "newer release", 1, 20, 0)
	if got := owners(l); !slices.Equal(got, []any{"first"}) {
		t.Fatalf("with one slot %v may send", got)
	}
	l.Leave(first, 0)
	if got := owners(l); !slices.Equal(got, []any{"newer release"}) {
		t.Errorf("then %v, want the newer release", got)
	}
	l.Leave(newer, 0)
	if got := owners(l); !slices.Equal(got, []any{"poor"}) {
		t.Errorf("then %v, want the peer with the fewest pieces", got)
	}
}

func TestHolderThatDoesNotReadGivesWay(t *testing.T) {
	l := NewLine(1)
	stuck := ask(l, "stuck", 0, 1, 0)
	ask(l, "waiting", 0, 1, 0)
	owners(l)
	if l.Poke(Stale - 1); len(owners(l)) > 0 {
		t.Error("the slot was given away too early")
	}
	l.Poke(Stale)
	if got := owners(l); !slices.Equal(got, []any{"waiting"}) {
		t.Errorf("after %v %v may send", Stale, got)
	}
	l.Leave(stuck, Stale) // must not free a slot that it no longer has
	ask(l, "third", 0, 1, Stale)
	if got := owners(l); len(got) > 0 {
		t.Errorf("%v may send beside the holder", got)
	}
}

func TestWhoGivesUpLeavesTheLine(t *testing.T) {
	l := NewLine(1)
	a := ask(l, "a", 0, 1, 0)
	b := ask(l, "b", 0, 1, 0)
	ask(l, "c", 0, 1, 0)
	owners(l)
	l.Leave(b, 0)
	l.Leave(a, 0)
	if got := owners(l); !slices.Equal(got, []any{"c"}) {
		t.Errorf("%v may send, want c alone", got)
	}
}

// TestOlderReleaseIsNotStarved: where many want a newer release, every eighth turn
// is an older one's, of the peer that has waited longest.
func TestOlderReleaseIsNotStarved(t *testing.T) {
	l := NewLine(1)
	ask(l, "newer", 2, 1, 0) // has the only slot
	ask(l, "older", 1, 9, 0)
	ask(l, "older too", 1, 1, 0)
	for range 4 * overtakes {
		ask(l, "newer", 2, 1, 0)
	}
	var order []any
	for g := l.Granted(); len(g) > 0; g = l.Granted() {
		order = append(order, g[0].Owner)
		l.Leave(g[0], 0)
	}
	for name, want := range map[string]int{"older": overtakes + 1, "older too": 2 * (overtakes + 1)} {
		if got := slices.Index(order, any(name)); got != want {
			t.Errorf("%s has turn %d, want %d, of %v", name, got, want, order)
		}
	}
}
