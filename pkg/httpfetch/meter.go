package httpfetch

import "time"

// meterWindow is the time over which bytes are gathered into one reading.
const meterWindow = 200 * time.Millisecond

// meter measures a rate in bytes/s while something is being waited for.
type meter struct {
	rate  float64 // zero until the first reading
	bytes int64   // since the reading began
	since time.Time
	last  time.Time // when the last bytes came
	// grace is how long nothing may come before the rate is doubted; 500 ms when
	// zero.
	grace time.Duration
}

// begin starts a reading after a pause that must not count as slowness.
func (m *meter) begin(now time.Time) { m.since, m.last, m.bytes = now, now, 0 }

// pause leaves out d, which just went by and in which nothing was waited for.
func (m *meter) pause(now time.Time, d time.Duration) { m.since, m.last = m.since.Add(d), now }

// add counts n bytes that came at now.
func (m *meter) add(now time.Time, n int) {
	m.bytes += int64(n)
	m.last = now
	d := now.Sub(m.since)
	if d < meterWindow {
		return
	}
	r := float64(m.bytes) / d.Seconds()
	if m.rate == 0 {
		m.rate = r
	} else {
		m.rate += (r - m.rate) * 0.4
	}
	m.since, m.bytes = now, 0
}

// at is the rate as far as it can be believed at now: it falls while nothing
// comes.
func (m *meter) at(now time.Time) float64 {
	if idle := m.stall(now); idle > 0 {
		return m.rate * float64(m.patience()) / float64(idle)
	}
	return m.rate
}

// stall is for how long nothing has come, or zero when that is not long.
func (m *meter) stall(now time.Time) time.Duration {
	if idle := now.Sub(m.last); idle > m.patience() {
		return idle
	}
	return 0
}

func (m *meter) patience() time.Duration {
	if m.grace == 0 {
		return 500 * time.Millisecond
	}
	return m.grace
}
