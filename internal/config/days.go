package config

import (
	"fmt"
	"strings"
	"time"
)

// Days is a set of days of the week.
type Days uint8

const everyDay Days = 1<<7 - 1

func dayRange(from, to time.Weekday) (d Days) {
	for day := from; ; day = (day + 1) % 7 {
		d |= 1 << day
		if day == to {
			return d
		}
	}
}

func (d Days) has(day time.Weekday) bool { return d&(1<<day) != 0 }

// first is the first day of the set in a week that begins on Monday.
func (d Days) first() Days {
	for i := range 7 {
		if day := time.Weekday(i+1) % 7; d.has(day) {
			return 1 << day
		}
	}
	return 0
}

// String is the set as it is written: a day, or the first and the last, or
// nothing for every day. A set that is no range has none.
func (d Days) String() string {
	if d == everyDay {
		return ""
	}
	for from := time.Sunday; from <= time.Saturday; from++ {
		if before := (from + 6) % 7; !d.has(from) || d.has(before) {
			continue
		}
		to := from
		for d.has((to + 1) % 7) {
			to = (to + 1) % 7
		}
		if from == to {
			return short(from)
		}
		return short(from) + "-" + short(to)
	}
	return ""
}

func short(day time.Weekday) string { return day.String()[:3] }

// parseDays reads a day or a range of days, by their English names or the first
// three letters of them.
func parseDays(text string) (Days, error) {
	first, last, isRange := strings.Cut(text, "-")
	from, err := parseDay(first)
	if err != nil || !isRange {
		return dayRange(from, from), err
	}
	to, err := parseDay(last)
	return dayRange(from, to), err
}

func parseDay(text string) (time.Weekday, error) {
	for day := time.Sunday; day <= time.Saturday; day++ {
		if strings.EqualFold(text, day.String()) || strings.EqualFold(text, short(day)) {
			return day, nil
		}
	}
	return 0, fmt.Errorf("%q is not a day: Mon, Tue, Wed, Thu, Fri, Sat or Sun", text)
}

// firstAt is the first moment at which clocks at a place show a date and time,
// which are given as those of UTC: where the clock is put back and shows a time
// twice it is the earlier one, and where it is put forward over a time it is
// that moment.
func firstAt(wall time.Time, loc *time.Location) time.Time {
	t := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), 0, 0, loc)
	start, end := t.ZoneBounds()
	shown := shownAt(t)
	switch {
	case shown.After(wall): // the clock was put forward before t
		return start
	case shown.Before(wall): // it will be, after t
		return end
	case start.IsZero():
		return t
	}
	_, before := start.Add(-time.Second).Zone()
	_, after := t.Zone()
	if twin := t.Add(time.Duration(after-before) * time.Second); twin.Before(start) && shownAt(twin).Equal(wall) {
		return twin
	}
	return t
}

// shownAt is what clocks show at a moment, as a time of UTC.
func shownAt(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}
