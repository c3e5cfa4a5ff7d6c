package sim

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestEventsComeInOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var q queue
	for i := range uint64(2000) {
		q.push(event{at: time.Duration(rng.IntN(50)), seq: i})
		if i%3 == 0 {
			q.pop()
		}
	}
	last := q.pop()
	for len(q) > 0 {
		e := q.pop()
		if e.before(&last) {
			t.Fatalf("%v #%d comes after %v #%d", e.at, e.seq, last.at, last.seq)
		}
		last = e
	}
}

func TestFifoUsesItsMemoryAgain(t *testing.T) {
	var f fifo[int]
	next := 0
	for i := range 1000 {
		f.push(i)
		if i%4 != 0 {
			if got := f.pop(); got != next {
				t.Fatalf("got %d, want %d", got, next)
			}
			next++
		}
	}
	for ; f.len() > 0; next++ {
		if got := f.pop(); got != next {
			t.Fatalf("got %d, want %d", got, next)
		}
	}
	if next != 1000 {
		t.Errorf("%d of 1000 came out", next)
	}
}
