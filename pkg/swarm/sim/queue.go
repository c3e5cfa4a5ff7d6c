package sim

import "time"

// eventKind says what happens.
type eventKind uint8

const (
	evJoin    eventKind = iota // node a comes up
	evSent                     // the uplink of node a has sent its burst
	evArrive                   // quantum of c bytes on link a that ends b items
	evStored                   // piece b of node a, in its life c, is verified
	evTick                     // the timer of node a in its life b
	evDue                      // node a in its life b wanted to decide now
	evPoke                     // somebody waits in the line of node a
	evSearch                   // node a in its life b looks for more peers
	evDie                      // node a goes down
	evFetched                  // a mirror has brought piece b to node a; c is which of its connections
)

// event is kept small and free of pointers: there are a million at a time.
type event struct {
	at      time.Duration
	seq     uint64 // among those of one moment the first put in is the first
	kind    eventKind
	a, b, c int32
}

func (e *event) before(o *event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// queue is a heap of events, four children to a node, which touches less memory
// than two.
type queue []event

func (q *queue) push(e event) {
	h := append(*q, e)
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 4
		if !e.before(&h[up]) {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = e
	*q = h
}

// pop removes the first event; there must be one.
func (q *queue) pop() event {
	h := *q
	top, last := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	*q = h
	for i := 0; len(h) > 0; {
		least := 4*i + 1
		if least >= len(h) {
			h[i] = last
			break
		}
		for c := least + 1; c < min(4*i+5, len(h)); c++ {
			if h[c].before(&h[least]) {
				least = c
			}
		}
		if !h[least].before(&last) {
			h[i] = last
			break
		}
		h[i] = h[least]
		i = least
	}
	return top
}

// fifo is a queue of values whose memory is used again.
type fifo[T any] struct {
	list []T
	head int
}

func (f *fifo[T]) len() int  { return len(f.list) - f.head }
func (f *fifo[T]) first() *T { return &f.list[f.head] }

func (f *fifo[T]) push(v T) {
	if f.head > 0 && len(f.list) == cap(f.list) {
		n := copy(f.list, f.list[f.head:])
		clear(f.list[n:])
		f.list, f.head = f.list[:n], 0
	}
	f.list = append(f.list, v)
}

func (f *fifo[T]) pop() T {
	var zero T
	v := f.list[f.head]
	f.list[f.head] = zero
	f.head++
	if f.head == len(f.list) {
		f.list, f.head = f.list[:0], 0
	}
	return v
}
