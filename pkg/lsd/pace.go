package lsd

import (
	"cmp"
	"slices"
	"time"
)

// The pace of a node's messages. BEP 14 wants an announce every five minutes and
// none sooner than a minute after the last. Here that holds for what is announced
// again. What somebody waits for, a new torrent or the answer to a newcomer, goes
// sooner, and is bounded by tokens.
const (
	interval = 5 * time.Minute        // between two announces of a torrent, a tenth more or less
	second   = time.Minute            // and half as much by chance, from the first to the second: the first may be lost
	round    = time.Minute            // between two messages that nobody waits for, at least
	gather   = 100 * time.Millisecond // what is new is announced together with what becomes new in that time

	burst  = 8                // messages that may go at once
	refill = 15 * time.Second // for one more of them

	// aria2 and transmission before 4.0 read 200 bytes, so that they hear only of a
	// torrent that has a message to itself.
	alone = 4

	answerMin = 100 * time.Millisecond // delay of an answer, by chance
	answerMax = 2 * time.Second
	quiet     = 5 * time.Second // from an announce of a torrent to an answer with it, at least
	enough    = 4               // others that have announced since: then no answer is needed

	forget   = 12 * time.Minute // without an announce, until a peer is a newcomer again
	maxHeard = 512              // peers of a torrent that are remembered as such
)

// pace decides when which torrents are announced. It has no clock and no lock.
type pace struct {
	chance func() float64 // in [0, 1)
	kept   map[[20]byte]*topic

	tokens float64
	filled time.Time // when tokens was counted
	next   time.Time // message that nobody waits for, at the earliest
}

// topic is a torrent that is announced.
type topic struct {
	due    time.Time // next regular announce; not set before the first
	urgent time.Time // announce that somebody waits for; zero for none
	answer bool      // that announce is an answer, which others may give
	since  []string  // who has announced since it is wanted, and first who wants it
	sent   time.Time // last announce
	count  int       // announces

	heard map[string]time.Time // when each peer was heard last
	swept time.Time
}

func newPace(chance func() float64) *pace {
	return &pace{chance: chance, kept: map[[20]byte]*topic{}, tokens: burst}
}

// keep begins to announce a torrent.
func (p *pace) keep(ih [20]byte, now time.Time) {
	p.kept[ih] = &topic{urgent: now.Add(gather), heard: map[string]time.Time{}}
}

func (p *pace) drop(ih [20]byte) { delete(p.kept, ih) }

// again announces everything anew: there are links that have not heard it.
func (p *pace) again(now time.Time) {
	at := now.Add(gather + p.between(0, answerMax)) // others may have lost the same switch
	for _, t := range p.kept {
		if t.urgent.IsZero() || t.answer {
			t.urgent, t.answer = at, false
		}
	}
}

// hear takes notice of another's announce, and says whether the torrent is kept.
// One peer may be heard several times, over several interfaces: who is what it is
// known by.
func (p *pace) hear(ih [20]byte, who string, now time.Time) bool {
	t := p.kept[ih]
	if t == nil {
		return false
	}
	known := t.remember(who, now)
	switch {
	case t.urgent.IsZero() && !known:
		t.urgent, t.answer, t.since = now.Add(p.between(answerMin, answerMax)), true, append(t.since[:0], who)
		if at := t.sent.Add(quiet); t.urgent.Before(at) {
			t.urgent = at.Add(p.between(0, answerMax))
		}
	case t.answer && !t.urgent.IsZero() && !slices.Contains(t.since, who):
		if t.since = append(t.since, who); len(t.since) > enough {
			t.urgent = time.Time{}
		}
	}
	return true
}

// remember says whether the peer was heard not long ago, and notes that it is
// now. Where there is no room for it, it counts as known: where so many are,
// a newcomer does not want for answers.
func (t *topic) remember(who string, now time.Time) (known bool) {
	last, known := t.heard[who]
	if !known && len(t.heard) >= maxHeard {
		if now.Sub(t.swept) < time.Minute {
			return true
		}
		t.swept = now
		for a, at := range t.heard {
			if now.Sub(at) >= forget {
				delete(t.heard, a)
			}
		}
		if len(t.heard) >= maxHeard {
			return true
		}
	}
	t.heard[who] = now
	return known && now.Sub(last) < forget
}

// take returns the messages that are to be sent now: the infohashes of each.
func (p *pace) take(now time.Time) (messages [][][20]byte) {
	p.fill(now)
	waited := p.sorted(func(t *topic) (time.Time, bool) { return t.urgent, !t.urgent.IsZero() && !t.urgent.After(now) })
	size := perMessage
	if len(waited) <= alone && float64(len(waited)) <= p.tokens {
		size = 1
	}
	for part := range slices.Chunk(waited, size) {
		if p.tokens < 1 {
			return messages
		}
		p.tokens--
		messages = append(messages, p.announced(part, now))
	}
	if now.Before(p.next) || !p.anyDue(now) {
		return messages
	}
	// Those that would be due before the next message may go are taken along.
	soon := now.Add(round)
	due := p.sorted(func(t *topic) (time.Time, bool) { return t.due, t.count > 0 && t.urgent.IsZero() && t.due.Before(soon) })
	p.next = soon
	return append(messages, p.announced(due[:min(len(due), perMessage)], now))
}

// anyDue says whether the time for some regular announce has come.
func (p *pace) anyDue(now time.Time) bool {
	for _, t := range p.kept {
		if t.count > 0 && t.urgent.IsZero() && !t.due.After(now) {
			return true
		}
	}
	return false
}

// sorted returns the torrents that are chosen, the earliest first.
func (p *pace) sorted(choose func(*topic) (time.Time, bool)) [][20]byte {
	at := map[[20]byte]time.Time{}
	var all [][20]byte
	for ih, t := range p.kept {
		if when, ok := choose(t); ok {
			at[ih] = when
			all = append(all, ih)
		}
	}
	slices.SortFunc(all, func(a, b [20]byte) int { return cmp.Or(at[a].Compare(at[b]), slices.Compare(a[:], b[:])) })
	return all
}

// announced notes that the torrents are announced now.
func (p *pace) announced(hashes [][20]byte, now time.Time) [][20]byte {
	for _, ih := range hashes {
		t := p.kept[ih]
		t.sent, t.urgent = now, time.Time{}
		if t.count++; t.count == 1 {
			t.due = now.Add(p.between(second, second+second/2))
		} else {
			t.due = now.Add(p.between(interval-interval/10, interval+interval/10))
		}
	}
	return hashes
}

// wake says when take has something to do; ok is false when there is nothing.
func (p *pace) wake(now time.Time) (at time.Time, ok bool) {
	p.fill(now)
	token := now
	if p.tokens < 1 {
		// A moment more than it takes, so that rounding leaves no part of it missing.
		token = now.Add(time.Duration((1-p.tokens)*float64(refill)) + time.Millisecond)
	}
	for _, t := range p.kept {
		when := later(t.due, p.next)
		if !t.urgent.IsZero() {
			when = later(t.urgent, token)
		}
		if !ok || when.Before(at) {
			at, ok = when, true
		}
	}
	return at, ok
}

func (p *pace) fill(now time.Time) {
	if !p.filled.IsZero() {
		p.tokens = min(burst, p.tokens+now.Sub(p.filled).Seconds()/refill.Seconds())
	}
	p.filled = now
}

// between is a time between two, by chance.
func (p *pace) between(least, most time.Duration) time.Duration {
	return least + time.Duration(p.chance()*float64(most-least))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
