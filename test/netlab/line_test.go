package netlab

import (
	"encoding/binary"
	"math"
	"testing"
	"time"
)

// packet is a packet of so many bytes, headers included.
func packet(size int) segment {
	raw := make([]byte, vnetHeader+size)
	raw[vnetHeader] = 0x45
	return segment{raw: raw}
}

// burst is n packets of 1500 bytes in one piece.
func burst(t *testing.T, n int) segment {
	t.Helper()
	raw := make([]byte, vnetHeader+40+n*1460)
	raw[gsoType] = gsoTCP4
	binary.LittleEndian.PutUint16(raw[gsoSize:], 1460)
	p := raw[vnetHeader:]
	p[0], p[9], p[20+12] = 0x45, protocolTCP, 5<<4
	s, ok := parseSegment(raw)
	if !ok || s.packets() != n || s.size(0) != 1500 || s.size(n-1) != 1500 {
		t.Fatalf("a segment of %d packets is taken for %d of %d bytes", n, s.packets(), s.size(0))
	}
	return s
}

// stretch is what a line lets through in one piece.
type stretch struct {
	first, end int
	due        time.Duration
}

func (l *line) runs(now time.Duration, s segment) (all []stretch) {
	l.take(now, s, func(first, end int, due time.Duration) { all = append(all, stretch{first, end, due}) })
	return all
}

func TestLineRateAndDelay(t *testing.T) {
	l := newLine(Long{Mbit: 12, Delay: 40 * time.Millisecond, Queue: 1 << 20}, 1) // 1500 bytes take 1 ms
	for i := range 100 {
		got := l.runs(0, packet(1500))
		if want := 40*time.Millisecond + time.Duration(i+1)*time.Millisecond; len(got) != 1 || got[0].due != want {
			t.Fatalf("packet %d arrives at %v, not at %v", i, got, want)
		}
	}
	// A line that had nothing to do has saved up nothing.
	if got := l.runs(time.Second, packet(750)); got[0].due != time.Second+40*time.Millisecond+500*time.Microsecond {
		t.Errorf("half a packet at 1 s arrives at %v", got)
	}
	l.setRate(6)
	if got := l.runs(2*time.Second, packet(1500)); got[0].due != 2*time.Second+42*time.Millisecond {
		t.Errorf("a packet at half the rate arrives at %v", got)
	}
	if c := l.counters(); c.Packets != 102 || c.Bytes != 101*1500+750 || c.Lost+c.Dropped != 0 {
		t.Errorf("carried %v", c)
	}
}

// TestLineTogether: a piece of many packets arrives in pieces of half a
// millisecond, and takes as long as its packets one by one.
func TestLineTogether(t *testing.T) {
	l := newLine(Long{Mbit: 120}, 1) // 1500 bytes take 100 µs
	got := l.runs(0, burst(t, 12))
	want := []stretch{{0, 5, 500 * time.Microsecond}, {5, 10, time.Millisecond}, {10, 12, 1200 * time.Microsecond}}
	if len(got) != len(want) {
		t.Fatalf("12 packets arrive as %v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("piece %d is %v, not %v", i, got[i], want[i])
		}
	}
}

func TestLineQueue(t *testing.T) {
	l := newLine(Long{Mbit: 12, Queue: 15000}, 1)
	got := l.runs(0, burst(t, 40))
	// The one that is being sent, ten that wait, and the first that finds more
	// than that is dropped.
	if c := l.counters(); c.Packets != 11 || c.Dropped != 29 {
		t.Errorf("of 40 packets %d went on and %d were dropped: %v", c.Packets, c.Dropped, got)
	}
	if l.runs(time.Second, packet(1500)) == nil {
		t.Error("a line that has sent everything drops a packet")
	}
	// Without a size it is what the line carries in 100 ms.
	l = newLine(Long{Mbit: 12}, 1)
	for range 200 {
		l.runs(0, packet(1500))
	}
	if c := l.counters(); c.Packets != 101 {
		t.Errorf("%d packets of 1 ms went on", c.Packets)
	}
}

// TestLineLoss: packets are lost one by one, also out of the middle of a piece, and the
// same ones for the same seed.
func TestLineLoss(t *testing.T) {
	const n, loss = 100_000, 0.01
	spec := Long{Mbit: 1e6, Loss: loss, Seed: 7, Queue: 1 << 40}
	a, b := newLine(spec, 1), newLine(spec, 1)
	s, arrived := burst(t, 40), 0
	for range n / 40 {
		end := 0
		for _, r := range a.runs(0, s) {
			if r.first < end || r.end <= r.first || r.end > 40 {
				t.Fatalf("run %v follows %d", r, end)
			}
			arrived, end = arrived+r.end-r.first, r.end
		}
		for range 40 {
			b.runs(0, packet(1500))
		}
	}
	c := a.counters()
	if int64(arrived) != c.Packets || c.Packets+c.Lost != n {
		t.Errorf("%d arrived, and %v were counted of %d", arrived, c, n)
	}
	if sigma := math.Sqrt(n * loss * (1 - loss)); math.Abs(float64(c.Lost)-n*loss) > 5*sigma {
		t.Errorf("%d of %d were lost at %v", c.Lost, n, loss)
	}
	if got := b.counters(); got != c {
		t.Errorf("one by one %v, in pieces %v", got, c)
	}
	spec.Seed++
	other := newLine(spec, 1)
	for range n {
		other.runs(0, packet(1500))
	}
	if other.counters().Lost == c.Lost {
		t.Error("another seed loses as many: look whether it is used")
	}
}

func TestLineHang(t *testing.T) {
	l := newLine(Long{Mbit: 12}, 1)
	l.hang(true)
	if got := l.runs(0, burst(t, 4)); got != nil {
		t.Errorf("a line that hangs lets %v through", got)
	}
	l.hang(false)
	if got := l.runs(0, packet(1500)); len(got) != 1 || got[0].due != time.Millisecond {
		t.Errorf("a line that hung takes the next packet as %v", got)
	}
	if c := l.counters(); c.Lost != 4 || c.Packets != 1 {
		t.Errorf("counted %v", c)
	}
}
