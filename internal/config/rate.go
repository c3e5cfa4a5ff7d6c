package config

import (
	"fmt"
	"strings"

	"distd/internal/dscp"
	"distd/internal/names"
)

// MinRate is the least limit that can be set, in bytes a second: with less, one
// block for each of many peers takes longer than they wait.
const MinRate = 16 << 10

// Rate is a limit in bytes a second, written as a size: "10MiB". 0 is no limit.
type Rate int64

const rateHelp = "a rate such as 10MiB (bytes a second, 16KiB at least; 0 or off is no limit)"

// ParseRate reads a limit: a size, or "off", "0" or nothing for none.
func ParseRate(text string) (Rate, error) {
	var r Rate
	if err := r.UnmarshalText([]byte(text)); err != nil {
		return 0, err
	}
	return r, nil
}

// UnmarshalText reads what ParseRate reads.
func (r *Rate) UnmarshalText(text []byte) error {
	switch string(text) {
	case "", "0", "off":
		*r = 0
		return nil
	}
	var b Bytes
	if err := b.UnmarshalText(text); err != nil || b != 0 && b < MinRate {
		return fmt.Errorf("%q is not %s", text, rateHelp)
	}
	*r = Rate(b)
	return nil
}

// MarshalText writes the limit as a size.
func (r Rate) MarshalText() ([]byte, error) { return Bytes(r).MarshalText() }

// String is the limit for humans.
func (r Rate) String() string {
	if r == 0 {
		return "off"
	}
	text, _ := r.MarshalText() // does not fail
	return string(text) + "/s"
}

// ChannelRates reads the lines of channel_up or channel_down, "CHANNEL=RATE" or
// "CHANNEL=TIMETABLE". key names the setting in errors.
func ChannelRates(key string, lines []string) (map[string]Timetable, error) {
	rates := make(map[string]Timetable, len(lines))
	for _, line := range rejoin(lines) {
		channel, text, ok := strings.Cut(line, "=")
		if !ok || text == "" {
			return nil, fmt.Errorf("%s %q: want CHANNEL=RATE, such as web=10MiB", key, line)
		}
		if err := names.Channel(channel); err != nil {
			return nil, fmt.Errorf("%s %q: %w", key, line, err)
		}
		t, err := ParseTimetable(text)
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w", key, line, err)
		}
		if _, twice := rates[channel]; twice {
			return nil, fmt.Errorf("%s %q: there is another rate for the channel; give it one", key, line)
		}
		rates[channel] = t
	}
	return rates, nil
}

// rejoin puts timetables together again that were taken for lists: there is a
// comma in each of their entries, and lists in flags and variables have commas
// between their elements. Only the first part of each has a channel.
func rejoin(lines []string) []string {
	var out []string
	for _, line := range lines {
		if n := len(out); n > 0 && !strings.Contains(line, "=") {
			out[n-1] += "," + line
			continue
		}
		out = append(out, line)
	}
	return out
}

// checkLimits checks what bounds and marks the traffic.
func (c *Config) checkLimits() error {
	if _, err := ChannelRates("channel_up", c.ChannelUp); err != nil {
		return err
	}
	if _, err := ChannelRates("channel_down", c.ChannelDown); err != nil {
		return err
	}
	if _, err := dscp.Parse(c.DSCP); err != nil {
		return fmt.Errorf("dscp %w", err)
	}
	return nil
}
