package swarm

import (
	"time"

	"distd/pkg/swarm/picker"
)

// What a download waits for, or is held up by while blocks are under way. What
// the peers' requests wait for here is HeldLimits or HeldTurn.
const (
	// HeldPeers: no peer is there that answers. Under way: the peers, or the
	// network, send no faster.
	HeldPeers = "peers"
	// HeldPieces: the peers have nothing that is missing here. Under way: they
	// have too little of it to be asked for as much as the link takes.
	HeldPieces = "pieces"
	// HeldMirrors: pieces come from mirrors, and none is being fetched now.
	// Under way: the mirrors send no faster.
	HeldMirrors = "mirrors"
	// HeldDisk: the disk refuses pieces, or pieces have come and wait to be
	// verified and written.
	HeldDisk = "disk"
	// HeldMemory: Config.Memory is used up.
	HeldMemory = "memory"
	// HeldLimits: a rate limit lets no block in. Under way: it lets in some of
	// them. Of uploads: it lets no block out.
	HeldLimits = "limits"
	// HeldMirrorLimit: Spec.MirrorLimit lets in nothing more from mirrors.
	HeldMirrorLimit = "mirror_limit"
	// HeldTurn: Config.UploadSlots other connections are being served.
	HeldTurn = "turn"
)

// account adds up where the time of a download goes. At any time it is in one
// state, so that waited and moved together are the time since it began.
type account struct {
	since  time.Time // of the state
	why    string    // "": there is nothing to download
	moving bool
	waited map[string]time.Duration
	moved  map[string]time.Duration
	// mirrored says that some other source has asked for pieces.
	mirrored bool
}

func newAccount() account {
	return account{waited: make(map[string]time.Duration), moved: make(map[string]time.Duration)}
}

// spend counts the time up to now for the present state.
func (a *account) spend(now time.Time) {
	past := now.Sub(a.since)
	a.since = now
	switch {
	case a.why == "" || past <= 0:
	case a.moving:
		a.moved[a.why] += past
	default:
		a.waited[a.why] += past
	}
}

// total is how long the download has taken.
func (a *account) total() (sum time.Duration) {
	for _, d := range a.waited {
		sum += d
	}
	for _, d := range a.moved {
		sum += d
	}
	return sum
}

// account counts the time that has passed, and looks in which state the
// download is now. The loop calls it with each tick and before it rests.
func (t *Torrent) account(now time.Time) {
	a := &t.counts.account
	a.spend(now)
	a.why, a.moving = t.held()
	t.rank(now)
}

// held says what holds up the download, and whether blocks are under way.
func (t *Torrent) held() (why string, moving bool) {
	switch {
	case t.ended, t.pick.Done() && t.durable():
		return "", false
	case t.pick.Done(), t.disk.stuck():
		return HeldDisk, false
	}
	hold, moving := t.pick.Held(t.now())
	if hold == picker.ByDisk || hold == picker.ByMemory {
		return map[picker.Hold]string{picker.ByDisk: HeldDisk, picker.ByMemory: HeldMemory}[hold], moving
	}
	if t.pick.Claimed() > 0 {
		return t.mirrorsHeld(), true
	}
	if asked, throttled := t.throttled(); throttled > 0 {
		return HeldLimits, throttled < asked
	}
	switch {
	case hold == picker.ByPieces:
		return HeldPieces, moving
	case t.counts.mirrored && !moving:
		return HeldMirrors, false
	}
	return HeldPeers, moving
}

// mirrorsHeld says what holds up mirrors that have been asked for pieces.
func (t *Torrent) mirrorsHeld() string {
	if len(t.e.verifying) == cap(t.e.verifying) {
		return HeldDisk // no more pieces can be taken from them now
	}
	switch {
	case waiting(t.spec.MirrorLimit):
		return HeldMirrorLimit
	case waiting(t.spec.Down), waiting(t.e.cfg.Down):
		return HeldLimits
	}
	return HeldMirrors
}

// waiting says whether it is known that somebody waits for a limit.
func waiting(l Limiter) bool {
	w, ok := l.(interface{ Waiting() bool })
	return ok && w.Waiting()
}

// throttled counts the connections from which blocks are expected, and those of
// them that are not read from because of a limit.
func (t *Torrent) throttled() (asked, throttled int) {
	for _, c := range t.conns {
		if c.pe.Outstanding() == 0 {
			continue
		}
		asked++
		if c.throttled.Load() {
			throttled++
		}
	}
	return asked, throttled
}
