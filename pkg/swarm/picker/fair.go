package picker

import "time"

// Where many peers share a slow link, each sends a block every few seconds: at
// 2 Mbit/s sixty of them every four. A rate looks back one second, so that each
// seems fast after a block and dead before the next, and waiting a fixed time is
// too short. There a peer's fair share of the whole says more.

// fairBlocks is how many blocks a peer must send in a rate's time for the rate to
// mean something.
const fairBlocks = 4

// fair is what each peer that can be asked sends in bytes a second if all send
// the same; 0 when nothing is known yet.
func (f *flow) fair() float64 { return f.peak / float64(max(1, f.peers)) }

// fairTime is how long n bytes of one peer then take, 0 when nothing is known.
func (f *flow) fairTime(n int) time.Duration {
	if f.peak < kib {
		return 0
	}
	return time.Duration(float64(n) / f.fair() * float64(time.Second))
}

// pace is the rate of the peer, or its fair share where that says more.
func (p *Picker) pace(pe *Peer, now time.Duration) float64 {
	if fair := p.flow.fair(); fair > 0 && fair < fairBlocks*BlockSize/rateWindow.Seconds() {
		return fair
	}
	return pe.rate.At(now)
}

// snubTime is how long the peer may be silent: its patience, or the time of eight
// blocks at its fair share, up to a minute.
func (p *Picker) snubTime(pe *Peer) time.Duration {
	return max(pe.patience(), min(time.Minute, p.flow.fairTime(8*BlockSize)))
}
