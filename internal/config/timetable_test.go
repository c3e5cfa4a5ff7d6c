package config

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the tests' time zones, wherever they run
)

// at is a moment that clocks at a place show; where they show it twice, the
// first.
func at(t *testing.T, zone, text string) time.Time {
	t.Helper()
	loc, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	m, err := time.ParseInLocation("2006-01-02 15:04:05", text, loc)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestTimetableText(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "off",
		"off":                                 "off",
		"10MiB":                               "10MiB/s",
		"12582912":                            "12MiB/s",
		"08:00,20MiB 19:00,off":               "08:00,20MiB 19:00,off",
		"19:00,0;08:00,20MiB":                 "19:00,off 08:00,20MiB",
		" 08:00,20MiB\n 19:00,off ;":          "08:00,20MiB 19:00,off",
		"Mon-08:00,1MiB":                      "Mon-08:00,1MiB",
		"monday-FRIDAY-08:00,1MiB 19:00,off":  "Mon-Fri-08:00,1MiB 19:00,off",
		"Sat-Mon-00:00,16KiB Tue-23:59,16384": "Sat-Mon-00:00,16KiB Tue-23:59,16KiB",
		"Mon-Sun-08:00,1MiB":                  "08:00,1MiB",
	} {
		got, err := ParseTimetable(text)
		if err != nil || got.String() != want {
			t.Errorf("%q is %q, %v; want %q", text, got, err, want)
			continue
		}
		written, err := got.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseTimetable(string(written)); err != nil || again.String() != want {
			t.Errorf("%q is written as %q, which is %q, %v", text, written, again, err)
		}
	}
}

// TestBadTimetables: the error names the entry and what would be right.
func TestBadTimetables(t *testing.T) {
	for text, want := range map[string]string{
		"ten":                           `"ten" is not a rate such as 10MiB (bytes a second, 16KiB at least; 0 or off is no limit), or a timetable such as 08:00,20MiB 19:00,off`,
		"08:00,20MiB 24:00,off":         `entry "24:00,off": "24:00" is not a time from 00:00 to 23:59, such as 08:00`,
		"8:00,20MiB":                    `entry "8:00,20MiB": "8:00" is not a time from 00:00 to 23:59, such as 08:00`,
		"08:00,20MiB 19:00":             `entry "19:00": want HH:MM,RATE, Mon-HH:MM,RATE or Mon-Fri-HH:MM,RATE`,
		"08:00,20MiB 19:00,":            `entry "19:00,": want HH:MM,RATE, Mon-HH:MM,RATE or Mon-Fri-HH:MM,RATE`,
		"08:00,15KiB":                   `entry "08:00,15KiB": "15KiB" is not a rate such as 10MiB (bytes a second, 16KiB at least; 0 or off is no limit)`,
		"08:00,1MiB:2MiB":               `entry "08:00,1MiB:2MiB": "1MiB:2MiB" is not a rate such as 10MiB (bytes a second, 16KiB at least; 0 or off is no limit)`,
		"Mo-08:00,1MiB":                 `entry "Mo-08:00,1MiB": "Mo" is not a day: Mon, Tue, Wed, Thu, Fri, Sat or Sun`,
		"Mon-Fri-Sat-08:00,1MiB":        `entry "Mon-Fri-Sat-08:00,1MiB": "Fri-Sat" is not a day: Mon, Tue, Wed, Thu, Fri, Sat or Sun`,
		"08:00,1MiB 08:00,2MiB":         `entry "08:00,2MiB": there is another rate for Mon-08:00 in "08:00,1MiB"; give each time one`,
		"Mon-Fri-08:00,1MiB,Sat-1:00,1": `entry "Mon-Fri-08:00,1MiB,Sat-1:00,1": "1MiB,Sat-1:00,1" is not a rate such as 10MiB (bytes a second, 16KiB at least; 0 or off is no limit)`,
		"08:00,1MiB Sat-Sun-08:00,off":  `entry "Sat-Sun-08:00,off": there is another rate for Sat-08:00 in "08:00,1MiB"; give each time one`,
	} {
		if _, err := ParseTimetable(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v; want %s", text, err, want)
		}
	}
}

// TestTimetableAround: which entry holds, since when, and when the next comes.
func TestTimetableAround(t *testing.T) {
	const (
		office = "19:00,off 08:00,20MiB" // in any order
		week   = "Mon-Fri-08:00,1MiB 19:00,off"
		once   = "Wed-12:00,1MiB"
		berlin = "Europe/Berlin"
	)
	for _, c := range []struct{ table, zone, now, holds, since, next, comes string }{
		{office, berlin, "2026-02-03 07:59:59", "19:00,off", "2026-02-02 19:00:00", "08:00,20MiB", "2026-02-03 08:00:00"},
		{office, berlin, "2026-02-03 08:00:00", "08:00,20MiB", "2026-02-03 08:00:00", "19:00,off", "2026-02-03 19:00:00"},
		{office, berlin, "2026-02-03 23:00:00", "19:00,off", "2026-02-03 19:00:00", "08:00,20MiB", "2026-02-04 08:00:00"},
		{week, berlin, "2026-02-07 12:00:00", "19:00,off", "2026-02-06 19:00:00", "19:00,off", "2026-02-07 19:00:00"},
		{week, berlin, "2026-02-09 08:00:00", "Mon-Fri-08:00,1MiB", "2026-02-09 08:00:00", "19:00,off", "2026-02-09 19:00:00"},
		{once, berlin, "2026-02-04 11:59:59", "Wed-12:00,1MiB", "2026-01-28 12:00:00", "Wed-12:00,1MiB", "2026-02-04 12:00:00"},
		{once, berlin, "2026-02-04 12:00:00", "Wed-12:00,1MiB", "2026-02-04 12:00:00", "Wed-12:00,1MiB", "2026-02-11 12:00:00"},
		// The clock goes from 02:00 to 03:00: what begins in between begins then, and the later entry wins.
		{"02:10,1MiB 02:50,2MiB 12:00,off", berlin, "2026-03-29 01:59:59", "12:00,off", "2026-03-28 12:00:00", "02:50,2MiB", "2026-03-29 03:00:00"},
		{"02:10,1MiB 02:50,2MiB 12:00,off", berlin, "2026-03-29 03:00:00", "02:50,2MiB", "2026-03-29 03:00:00", "12:00,off", "2026-03-29 12:00:00"},
		// The day of 23 hours and the one of 25 have their switches by the clock on the wall.
		{office, berlin, "2026-03-28 20:00:00", "19:00,off", "2026-03-28 19:00:00", "08:00,20MiB", "2026-03-29 08:00:00"},
		{office, berlin, "2026-10-24 20:00:00", "19:00,off", "2026-10-24 19:00:00", "08:00,20MiB", "2026-10-25 08:00:00"},
		// The clock is put forward at midnight.
		{"00:30,1MiB 12:00,off", "Africa/Cairo", "2026-04-23 23:00:00", "12:00,off", "2026-04-23 12:00:00", "00:30,1MiB", "2026-04-24 01:00:00"},
		// A day that was left out.
		{"Fri-08:00,1MiB Sat-12:00,off", "Pacific/Apia", "2011-12-31 00:00:00", "Fri-08:00,1MiB", "2011-12-31 00:00:00", "Sat-12:00,off", "2011-12-31 12:00:00"},
	} {
		table, err := ParseTimetable(c.table)
		if err != nil {
			t.Fatal(err)
		}
		holds, next := table.Around(at(t, c.zone, c.now))
		for what, s := range map[string]struct {
			got         Switch
			entry, when string
		}{"holds": {holds, c.holds, c.since}, "next": {next, c.next, c.comes}} {
			if s.got.Entry.String() != s.entry || !s.got.At.Equal(at(t, c.zone, s.when)) {
				t.Errorf("%q at %s in %s: %s is %v at %v, want %s at %s", c.table, c.now, c.zone, what, s.got.Entry, s.got.At, s.entry, s.when)
			}
		}
	}
}

// TestTimetableTwice: when the clock is put back, what began the first time is
// not undone and does not begin again.
func TestTimetableTwice(t *testing.T) {
	table, err := ParseTimetable("02:10,1MiB 02:50,2MiB 12:00,off")
	if err != nil {
		t.Fatal(err)
	}
	one := at(t, "Europe/Berlin", "2026-10-25 01:00:00") // the clock is put back two hours later
	var got []string
	for now := one; now.Before(one.Add(13 * time.Hour)); {
		_, next := table.Around(now)
		got = append(got, next.At.Sub(one).String()+" "+next.Entry.String())
		if per, then := table.At(now); !then.Equal(next.At) || !then.After(now) {
			t.Fatalf("at %v: %d until %v, want %v", now, per, then, next.At)
		}
		now = next.At
	}
	if want := "1h10m0s 02:10,1MiB, 1h50m0s 02:50,2MiB, 12h0m0s 12:00,off, 26h10m0s 02:10,1MiB"; strings.Join(got, ", ") != want {
		t.Errorf("switches at %q, want %q", got, want)
	}
}

// TestTimetableMinuteByMinute: through a year with two changes of the clock, in
// each minute the entry holds that a look at the clock and the calendar would
// choose, where the clock shows the minute once.
func TestTimetableMinuteByMinute(t *testing.T) {
	table, err := ParseTimetable("Mon-Fri-07:30,1MiB Sat-10:00,2MiB 18:15,3MiB Sun-23:45,4MiB")
	if err != nil {
		t.Fatal(err)
	}
	now := at(t, "America/New_York", "2026-01-01 00:00:00")
	var holds, next Switch
	for end := now.AddDate(1, 0, 0); now.Before(end); now = now.Add(5 * time.Minute) {
		if next.At.IsZero() || !now.Before(next.At) {
			holds, next = table.Around(now)
		}
		minute := now.Hour()*60 + now.Minute()
		var want Rate
		switch day := now.Weekday(); {
		case day == time.Sunday && minute >= 23*60+45:
			want = 4 << 20
		case minute >= 18*60+15:
			want = 3 << 20
		case day == time.Saturday && minute >= 600:
			want = 2 << 20
		case day >= time.Monday && day <= time.Friday && minute >= 450:
			want = 1 << 20
		case day == time.Monday:
			want = 4 << 20
		default:
			want = 3 << 20
		}
		if holds.Entry.Rate != want {
			t.Fatalf("%v: %v holds, want %v", now, holds.Entry, want)
		}
	}
}
