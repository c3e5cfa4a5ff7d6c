package watch

import (
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestTiming(t *testing.T) {
	start := time.Unix(1000, 0)
	sec := func(n float64) time.Time { return start.Add(time.Duration(n * float64(time.Second))) }
	none := time.Time{}
	for _, c := range []struct {
		name        string
		do          func(*timing)
		first, last time.Time
		due         time.Time // zero: never
		why         string
	}{
		{"nothing", nil, none, none, none, ""},
		{"a change", nil, sec(0), sec(0), sec(2), ""},
		{"changes", nil, sec(0), sec(7), sec(9), ""},
		{"constant change", nil, sec(0), sec(59.5), sec(60), ""},
		{"asked", func(t *timing) { t.ask(sec(1), "marker") }, sec(0), sec(0), sec(1), "marker"},
		{"asked twice", func(t *timing) { t.ask(sec(1), "marker"); t.ask(sec(5), "rescan") }, none, none, sec(1), "marker"},
		{"changes before what was asked", func(t *timing) { t.ask(sec(9), "rescan") }, sec(0), sec(0), sec(2), ""},
		{"on demand only", func(t *timing) { t.onDemand = true }, sec(0), sec(0), none, ""},
		{"put off", func(t *timing) { t.again(sec(0), ""); t.again(sec(2), ""); t.again(sec(6), "") }, sec(6), sec(6), sec(14), ""},
		{"put off for long", func(t *timing) {
			for range 100 {
				t.again(sec(0), "")
			}
		}, sec(0), sec(0), sec(60), ""},
		{"put off, asked for again", func(t *timing) { t.again(sec(0), "marker") }, none, none, sec(2), "marker"},
		{"put off, insisted", func(t *timing) { t.again(sec(0), ""); t.insist(sec(1), "now") }, sec(0), sec(0), sec(1), "now"},
		{"put off, then done", func(t *timing) { t.again(sec(0), ""); t.succeeded() }, sec(0), sec(0), sec(2), ""},
		{"begun", func(t *timing) { t.insist(sec(0), "now"); t.begin() }, none, none, none, ""},
	} {
		x := &timing{settle: 2 * time.Second, max: time.Minute}
		if c.do != nil {
			c.do(x)
		}
		at, ok := x.at(c.first, c.last)
		if ok == c.due.IsZero() || ok && !at.Equal(c.due) {
			t.Errorf("%s: due at %s (%v), want %s", c.name, at, ok, c.due)
		}
		if why, due := x.due(c.due, c.first, c.last); due != ok || why != c.why {
			t.Errorf("%s: due %v because of %q", c.name, due, why)
		}
		if _, due := x.due(c.due.Add(-1), c.first, c.last); due {
			t.Errorf("%s: due too early", c.name)
		}
	}
}

func TestChangesInWords(t *testing.T) {
	var c changes
	now := time.Now()
	check := func(want string) {
		t.Helper()
		if got := c.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	check("changed")
	c.add("b", now)
	c.add("b", now)
	check("changed: b")
	c.add("a", now)
	check("changed: b and 1 more")
	for i := range maxNamed + 5 {
		c.add(string(rune('0'+i%10))+time.Duration(i).String(), now)
	}
	check("changed: b and 9999 or more others")
	if !c.all || !c.has("never named") || len(c.paths) > maxNamed {
		t.Errorf("%d names, all: %v", len(c.paths), c.all)
	}
}

func FuzzParseEvent(f *testing.F) {
	e := make([]byte, unix.SizeofInotifyEvent+16)
	binary.NativeEndian.PutUint32(e[12:], 16)
	copy(e[unix.SizeofInotifyEvent:], "name")
	f.Add(append(e, e...))
	f.Add(e[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		for rest := b; ; n++ {
			e, tail, ok := parseEvent(rest)
			if !ok {
				break
			}
			if len(tail) >= len(rest) || len(e.name) > len(rest) {
				t.Fatal("no progress")
			}
			rest = tail
		}
		if n > len(b)/unix.SizeofInotifyEvent {
			t.Fatalf("%d events in %d bytes", n, len(b))
		}
	})
}
