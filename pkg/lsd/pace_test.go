package lsd

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

var start = time.Unix(1_700_000_000, 0)

// half is a chance that always lies in the middle.
func half() float64 { return 0.5 }

// run has a pace send all that it sends until end, and calls sent with each
// message.
func run(p *pace, now, end time.Time, sent func(at time.Time, hashes [][20]byte)) {
	for {
		at, ok := p.wake(now)
		if !ok || at.After(end) {
			return
		}
		now = later(now, at)
		for _, m := range p.take(now) {
			sent(now, m)
		}
	}
}

func TestPaceOfOne(t *testing.T) {
	p := newPace(half)
	p.keep(hash(1), start)
	var got []time.Duration
	run(p, start, start.Add(12*time.Minute), func(at time.Time, m [][20]byte) {
		if len(m) != 1 || m[0] != hash(1) {
			t.Errorf("message %x", m)
		}
		got = append(got, at.Sub(start))
	})
	want := []time.Duration{gather, gather + second*5/4, gather + second*5/4 + interval, gather + second*5/4 + 2*interval}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("announced at %v, want %v", got, want)
	}
	p.drop(hash(1))
	if at, ok := p.wake(start); ok {
		t.Errorf("without a torrent something is to be done at %v", at)
	}
}

// TestPaceOfMany has the restraint that BEP 14 wants with more torrents than fit
// into the messages of five minutes.
func TestPaceOfMany(t *testing.T) {
	const torrents = 200
	p := newPace(rand.New(rand.NewPCG(1, 1)).Float64)
	for i := range torrents {
		p.keep(hash(i), start)
	}
	times := map[[20]byte][]time.Time{}
	var messages []time.Time
	run(p, start, start.Add(2*time.Hour), func(at time.Time, m [][20]byte) {
		if len(m) > perMessage {
			t.Fatalf("%d in a message", len(m))
		}
		messages = append(messages, at)
		for _, ih := range m {
			times[ih] = append(times[ih], at)
		}
	})
	first := 0
	for first < len(messages) && messages[first].Sub(start) < time.Minute {
		first++
	}
	if first < 2 || first > burst+4 {
		t.Errorf("%d messages in the first minute", first)
	}
	for i := first + 1; i < len(messages); i++ {
		if gap := messages[i].Sub(messages[i-1]); gap < round {
			t.Fatalf("a message after %v", gap)
		}
	}
	rounds := time.Duration(torrents/perMessage+1) * round // to announce all once
	for ih, at := range times {
		for i := 2; i < len(at); i++ {
			if gap := at[i].Sub(at[i-1]); gap > rounds+interval*11/10 || gap < interval*9/10-round {
				t.Fatalf("%x again after %v", ih, gap)
			}
		}
	}
	if len(times) != torrents {
		t.Errorf("%d torrents announced", len(times))
	}
}

// TestNewOnesAreBounded keeps new torrents all the time: messages for them are
// no more than the tokens allow.
func TestNewOnesAreBounded(t *testing.T) {
	p := newPace(rand.New(rand.NewPCG(1, 1)).Float64)
	now, sent, single := start, 0, 0
	told := map[[20]byte]bool{}
	for i := range 600 {
		p.keep(hash(i), now)
		now = now.Add(500 * time.Millisecond)
		for _, m := range p.take(now) {
			if sent++; len(m) == 1 {
				single++
			}
			for _, ih := range m {
				told[ih] = true
			}
		}
	}
	most := burst + int(now.Sub(start)/refill) + int(now.Sub(start)/round) + 1
	if sent > most || single < burst {
		t.Errorf("%d messages in %v, not more than %d; %d with one torrent", sent, now.Sub(start), most, single)
	}
	if len(told) < 400 {
		t.Errorf("only %d of 600 torrents announced", len(told))
	}
}

func TestFewAreToldOneByOne(t *testing.T) {
	for n, want := range map[int]int{1: 1, alone: alone, alone + 1: 1, 3 * perMessage: 3} {
		p := newPace(half)
		for i := range n {
			p.keep(hash(i), start)
		}
		if got := len(p.take(start.Add(gather))); got != want {
			t.Errorf("%d new torrents in %d messages, want %d", n, got, want)
		}
	}
}

func TestAnswer(t *testing.T) {
	p := newPace(half)
	p.keep(hash(1), start)
	p.take(start.Add(gather))
	now := start.Add(30 * time.Second)
	at := func() time.Duration { w, _ := p.wake(now); return w.Sub(now) }
	delay := answerMin + (answerMax-answerMin)/2

	if p.hear(hash(2), "a", now) {
		t.Error("a torrent is kept that is not")
	}
	if !p.hear(hash(1), "a", now) || at() != delay {
		t.Errorf("the answer goes out after %v", at())
	}
	p.hear(hash(1), "a", now) // over another interface
	for _, who := range []string{"b", "c", "d", "d"} {
		p.hear(hash(1), who, now)
	}
	if at() != delay {
		t.Error("three others have answered, and that was enough")
	}
	p.hear(hash(1), "e", now)
	if at() < 40*time.Second {
		t.Errorf("four others have answered, and there is something to send after %v", at())
	}
	p.hear(hash(1), "a", now)
	if at() < 40*time.Second {
		t.Error("one that is known is answered")
	}
	p.hear(hash(1), "f", now)
	now = now.Add(delay)
	if got := len(p.take(now)); got != 1 {
		t.Fatalf("%d messages", got)
	}
	p.hear(hash(1), "g", now)
	if at() < quiet {
		t.Errorf("an answer %v after the last", at())
	}
	now = now.Add(quiet + answerMax)
	if got := len(p.take(now)); got != 1 {
		t.Errorf("%d messages when it was quiet long enough", got)
	}
	now = now.Add(forget)
	p.take(now)
	p.hear(hash(1), "a", now)
	if at() > quiet+answerMax {
		t.Error("one that was away is no newcomer")
	}
}

func TestHeardIsBounded(t *testing.T) {
	p := newPace(half)
	p.keep(hash(1), start)
	for i := range 2 * maxHeard {
		p.hear(hash(1), fmt.Sprint(i), start)
	}
	if n := len(p.kept[hash(1)].heard); n != maxHeard {
		t.Errorf("%d remembered", n)
	}
	p.hear(hash(1), "late", start.Add(forget))
	if n := len(p.kept[hash(1)].heard); n != 1 {
		t.Errorf("%d remembered when all were silent for long", n)
	}
}

func TestAgain(t *testing.T) {
	p := newPace(half)
	for i := range 3 {
		p.keep(hash(i), start)
	}
	p.take(start.Add(gather))
	now := start.Add(10 * time.Second)
	p.again(now)
	if at, _ := p.wake(now); at.Sub(now) != gather+answerMax/2 {
		t.Errorf("on a new link after %v", at.Sub(now))
	}
	if got := len(p.take(now.Add(answerMax))); got != 3 {
		t.Errorf("%d messages", got)
	}
}

// TestCrowd has a hundred nodes on one link: how much they say when they start
// together, when one more comes, and in the hour after.
func TestCrowd(t *testing.T) {
	const nodes, tick = 100, 20 * time.Millisecond
	rng := rand.New(rand.NewPCG(7, 7))
	crowd := make([]*pace, nodes)
	for i := range crowd {
		crowd[i] = newPace(rng.Float64)
		crowd[i].keep(hash(1), start.Add(time.Duration(rng.IntN(1000))*time.Millisecond))
	}
	knows := make([]map[int]bool, nodes+1) // of whom each has heard
	for i := range knows {
		knows[i] = map[int]bool{}
	}
	names := make([]string, nodes+1)
	for i := range names {
		names[i] = fmt.Sprint(i)
	}
	now := start
	// pass lets time go by; what is sent is heard a tick later. Besides all messages
	// it counts those that somebody waits for.
	pass := func(d time.Duration) (messages, waited int) {
		for end := now.Add(d); now.Before(end); now = now.Add(tick) {
			var said []int
			for i, p := range crowd {
				urgent := !p.kept[hash(1)].urgent.IsZero()
				for range p.take(now) {
					said = append(said, i)
					if urgent {
						waited++
					}
				}
			}
			messages += len(said)
			for _, from := range said {
				for i, p := range crowd {
					if i != from {
						p.hear(hash(1), names[from], now.Add(tick))
						knows[i][from] = true
					}
				}
			}
		}
		return messages, waited
	}
	n, _ := pass(30 * time.Second)
	t.Logf("%d messages in the first 30 s of %d nodes", n, nodes)
	if n < nodes || n > nodes+4*enough {
		t.Errorf("%d messages when %d nodes start", n, nodes)
	}
	for i := range crowd {
		if len(knows[i]) != nodes-1 {
			t.Fatalf("node %d knows %d others", i, len(knows[i]))
		}
	}
	pass(5 * time.Minute)
	crowd = append(crowd, newPace(rng.Float64))
	crowd[nodes].keep(hash(1), now)
	_, waited := pass(4 * time.Second)
	answers := waited - 1 // its own
	t.Logf("%d answers to a newcomer", answers)
	if answers < 1 || answers > enough+4 { // some speak in the same moment
		t.Errorf("%d answers to a newcomer", answers)
	}
	if n := len(knows[nodes]); n < 1 {
		t.Errorf("the newcomer knows %d", n)
	}
	for i := range nodes {
		if !knows[i][nodes] {
			t.Fatalf("node %d does not know the newcomer", i)
		}
	}
}

func TestSieve(t *testing.T) {
	var s sieve
	addr := func(n int) (a [16]byte) { a[0], a[14], a[15] = 0xfd, byte(n>>8), byte(n); return a }
	passed := func(from, n int, now time.Time) (count int) {
		for range n {
			if s.pass(netip.AddrFrom16(addr(from)), now) {
				count++
			}
		}
		return count
	}
	if n := passed(1, 100, start); n != sourceBurst {
		t.Errorf("%d of 100 at once from one", n)
	}
	if n := passed(2, 10, start); n != 10 {
		t.Errorf("%d of 10 from another", n)
	}
	if n := passed(1, 100, start.Add(5*time.Second)); n != 5*sourceRate {
		t.Errorf("%d of 100 five seconds later", n)
	}
	count := 0
	now := start.Add(time.Hour)
	for i := range 5000 {
		count += passed(i, 1, now)
	}
	if count != allBurst {
		t.Errorf("%d of 5000 at once from as many", count)
	}
	for i := range 10 * maxSources {
		now = now.Add(10 * time.Millisecond)
		passed(100+i, 1, now)
		if len(s.sources) > maxSources {
			t.Fatal(len(s.sources))
		}
	}
}
