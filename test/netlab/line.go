package netlab

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Long says what a long link is like, in each direction.
type Long struct {
	Mbit  float64       // rate, in megabits a second
	Delay time.Duration // one way
	Loss  float64       // part of the packets that is lost, 0 to 1
	Seed  uint64        // of the losses: the same packets are lost for the same seed
	// Queue is how many bytes may wait ahead of the link; what comes beyond is
	// dropped. 0 is what the link carries in 100 ms.
	Queue int64
	// Congestion is the TCP congestion control of connections over the link,
	// whatever their programs ask for; empty leaves it to them.
	Congestion string
}

// Carried counts what one direction of a link did. Bytes are those of IP packets.
type Carried struct {
	Bytes, Packets int64 // that arrived, or are on their way
	Lost           int64 // packets, at random or while the link hangs
	Dropped        int64 // packets, for which the queue had no room
}

// together is how long the packets that arrive at once may have taken to send.
// More at once costs less, but arrives later than the first of them should.
const together = 500 * time.Microsecond

// line is one direction of a long link, without its devices: it decides which
// packets arrive, and when. Times are from any moment that stays the same.
type line struct {
	mu      sync.Mutex
	rate    float64 // bytes a second
	delay   time.Duration
	loss    float64
	queue   float64 // bytes
	rng     *rand.Rand
	hung    bool
	free    time.Duration // when all that was taken will have been sent
	carried Carried
}

func newLine(l Long, direction uint64) *line {
	rate := l.Mbit * 1e6 / 8
	queue := float64(l.Queue)
	if queue == 0 {
		queue = rate / 10
	}
	return &line{rate: rate, delay: l.Delay, loss: l.Loss, queue: queue, rng: rand.New(rand.NewPCG(l.Seed, direction))}
}

// take decides about the packets of a segment that is there now. It calls emit
// for each run of them that arrives in one piece, with the moment at which it does.
func (l *line) take(now time.Duration, s segment, emit func(first, end int, due time.Duration)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = max(l.free, now)
	first, began := 0, l.free
	for i := range s.packets() {
		size := s.size(i)
		if !l.accept(now, size) {
			if i > first {
				emit(first, i, l.free+l.delay)
			}
			first, began = i+1, l.free
			continue
		}
		l.free += time.Duration(float64(size) / l.rate * float64(time.Second))
		if l.free-began >= together {
			emit(first, i+1, l.free+l.delay)
			first, began = i+1, l.free
		}
	}
	if n := s.packets(); n > first {
		emit(first, n, l.free+l.delay)
	}
}

// accept counts a packet, and says whether it goes on.
func (l *line) accept(now time.Duration, size int) bool {
	switch {
	case l.hung, l.loss > 0 && l.rng.Float64() < l.loss:
		l.carried.Lost++
		return false
	case (l.free-now).Seconds()*l.rate > l.queue:
		l.carried.Dropped++
		return false
	}
	l.carried.Packets++
	l.carried.Bytes += int64(size)
	return true
}

// setRate changes the rate for what comes from now on.
func (l *line) setRate(mbit float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate = mbit * 1e6 / 8
}

func (l *line) hang(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hung = on
}

func (l *line) counters() Carried {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.carried
}
