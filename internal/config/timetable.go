package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Timetable is a rate that may depend on the time of the week: a Rate, or
// entries such as "08:00,20MiB 19:00,off". The zero value is no limit at any
// time.
type Timetable struct {
	always  Rate    // where there are no entries
	entries []Entry // as they were written
}

// Entry is one line of a timetable: from that time of those days on its rate
// holds, until the next entry's.
type Entry struct {
	Days   Days
	Minute int // of the day
	Rate   Rate
}

// Switch is the moment at which an entry begins to hold.
type Switch struct {
	At    time.Time
	Entry Entry
}

const (
	timetableHelp = "a rate such as 10MiB (bytes a second, 16KiB at least; 0 or off is no limit), or a timetable such as 08:00,20MiB 19:00,off"
	entryHelp     = "HH:MM,RATE, Mon-HH:MM,RATE or Mon-Fri-HH:MM,RATE"
)

// Always is the timetable of one rate that holds at any time.
func Always(r Rate) Timetable { return Timetable{always: r} }

// ParseTimetable reads a rate, or a timetable: entries [DAY[-DAY]-]HH:MM,RATE
// with spaces or semicolons between them, in any order. Without a day an entry
// is of every day.
func ParseTimetable(text string) (Timetable, error) {
	if !strings.Contains(text, ",") {
		r, err := ParseRate(strings.TrimSpace(text))
		if err != nil {
			return Timetable{}, fmt.Errorf("%q is not %s", text, timetableHelp)
		}
		return Always(r), nil
	}
	var t Timetable
	for _, word := range strings.FieldsFunc(text, func(c rune) bool { return strings.ContainsRune(" \t\n;", c) }) {
		e, err := parseEntry(word)
		if err != nil {
			return Timetable{}, fmt.Errorf("entry %q: %w", word, err)
		}
		for _, other := range t.entries {
			if both := e.Days & other.Days; e.Minute == other.Minute && both != 0 {
				return Timetable{}, fmt.Errorf("entry %q: there is another rate for %v-%s in %q; give each time one", word, both.first(), clock(e.Minute), other)
			}
		}
		t.entries = append(t.entries, e)
	}
	return t, nil
}

func parseEntry(word string) (e Entry, err error) {
	when, rate, ok := strings.Cut(word, ",")
	if !ok {
		return e, fmt.Errorf("want %s", entryHelp)
	}
	e.Days = everyDay
	if i := strings.LastIndexByte(when, '-'); i >= 0 {
		if e.Days, err = parseDays(when[:i]); err != nil {
			return e, err
		}
		when = when[i+1:]
	}
	if e.Minute, err = parseClock(when); err != nil {
		return e, err
	}
	if rate == "" {
		return e, fmt.Errorf("want %s", entryHelp)
	}
	e.Rate, err = ParseRate(rate)
	return e, err
}

// parseClock reads a time of the day as the minute of the day.
func parseClock(text string) (int, error) {
	at, err := time.Parse("15:04", text)
	if err != nil || len(text) != len("15:04") {
		return 0, fmt.Errorf("%q is not a time from 00:00 to 23:59, such as 08:00", text)
	}
	return at.Hour()*60 + at.Minute(), nil
}

// UnmarshalText reads what ParseTimetable reads.
func (t *Timetable) UnmarshalText(text []byte) (err error) {
	*t, err = ParseTimetable(string(text))
	return err
}

// MarshalText writes what ParseTimetable reads.
func (t Timetable) MarshalText() ([]byte, error) {
	if len(t.entries) == 0 {
		return t.always.MarshalText()
	}
	words := make([]string, len(t.entries))
	for i, e := range t.entries {
		words[i] = e.String()
	}
	return []byte(strings.Join(words, " ")), nil
}

// String is the timetable for humans.
func (t Timetable) String() string {
	if len(t.entries) == 0 {
		return t.always.String()
	}
	text, _ := t.MarshalText() // does not fail
	return string(text)
}

// String is the entry as it is written.
func (e Entry) String() string {
	rate := "off"
	if e.Rate != 0 {
		text, _ := e.Rate.MarshalText() // does not fail
		rate = string(text)
	}
	days := e.Days.String()
	if days != "" {
		days += "-"
	}
	return days + clock(e.Minute) + "," + rate
}

func clock(minute int) string { return fmt.Sprintf("%02d:%02d", minute/60, minute%60) }

// Varies says whether the rate depends on the time.
func (t Timetable) Varies() bool { return len(t.entries) > 0 }

// Around returns the entry that holds at a time, with when it began, and the
// one that comes next. Times of the day are those of now's location. It is only
// for a timetable that varies.
func (t Timetable) Around(now time.Time) (holds, next Switch) {
	now = now.Round(0) // what counts is the clock on the wall
	switches := t.switches(now)
	i, _ := slices.BinarySearchFunc(switches, now, func(s Switch, now time.Time) int {
		if s.At.After(now) {
			return 1
		}
		return -1
	})
	return switches[i-1], switches[i]
}

// At is the rate that holds at a time, in bytes a second, and when another
// entry comes: the zero time when the rate is always the same.
func (t Timetable) At(now time.Time) (perSecond int64, next time.Time) {
	if !t.Varies() {
		return int64(t.always), time.Time{}
	}
	holds, then := t.Around(now)
	return int64(holds.Entry.Rate), then.At
}

// switches are all that happen in the week before and after a time, and a day
// more, since an entry may be of one day of the week only. Of several at one
// moment, which are skipped by the clock together, the last one holds.
func (t Timetable) switches(now time.Time) []Switch {
	entries := slices.SortedFunc(slices.Values(t.entries), func(a, b Entry) int { return a.Minute - b.Minute })
	var out []Switch
	year, month, day := now.Date()
	for d := -8; d <= 8; d++ {
		date := time.Date(year, month, day+d, 0, 0, 0, 0, time.UTC)
		for _, e := range entries {
			if !e.Days.has(date.Weekday()) {
				continue
			}
			s := Switch{firstAt(date.Add(time.Duration(e.Minute)*time.Minute), now.Location()), e}
			if n := len(out); n > 0 && !s.At.After(out[n-1].At) {
				out = out[:n-1]
			}
			out = append(out, s)
		}
	}
	return out
}
