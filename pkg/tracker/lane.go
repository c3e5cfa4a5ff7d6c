package tracker

import (
	"container/heap"
	"time"
)

// lane holds the members of a Group that wait for announces of one kind. Its
// Group's mu guards it.
type lane struct {
	limit  int           // announces under way at once
	gap    time.Duration // from the beginning of one to that of the next
	flying int
	free   time.Time // when the next may begin
	due    dueHeap
}

func (l *lane) push(m *member) { heap.Push(&l.due, m) }

// remove takes the member out and reports whether it was there.
func (l *lane) remove(m *member) bool {
	if m.place < 0 || m.place >= len(l.due) || l.due[m.place] != m {
		return false
	}
	heap.Remove(&l.due, m.place)
	return true
}

// next takes out a member whose announce is to begin now. When there is none,
// wait is the time until there may be one; waits is false when that is not
// known: nobody is there, or all places are taken.
func (l *lane) next(now time.Time) (m *member, wait time.Duration, waits bool) {
	if len(l.due) == 0 || l.flying >= l.limit {
		return nil, 0, false
	}
	at := l.due[0].at
	if at.Before(l.free) {
		at = l.free
	}
	if wait := at.Sub(now); wait > 0 {
		return nil, wait, true
	}
	l.free = now.Add(min(l.gap, maxSpread/time.Duration(len(l.due))))
	l.flying++
	return heap.Pop(&l.due).(*member), 0, false
}

// dueHeap has the member that is due first in front; it is a heap.Interface.
type dueHeap []*member

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }

func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *dueHeap) Push(x any) {
	m := x.(*member)
	m.place = len(*h)
	*h = append(*h, m)
}

func (h *dueHeap) Pop() any {
	old := *h
	m := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	m.place = -1
	return m
}
