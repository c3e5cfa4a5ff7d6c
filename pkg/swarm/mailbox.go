package swarm

import "sync"

// event is something that happened; apply runs in the torrent's loop.
type event interface{ apply(t *Torrent) }

// callEvent runs a function in the loop.
type callEvent func(t *Torrent)

func (f callEvent) apply(t *Torrent) { f(t) }

// wakeEvent only makes the loop look around again.
type wakeEvent struct{}

func (wakeEvent) apply(t *Torrent) { t.pick.MarkAll() }

// mailbox takes events from anywhere, hands them to the loop in batches, and
// says who runs the loop.
type mailbox struct {
	mu    sync.Mutex
	mail  []event
	spare []event
	owned bool // somebody is running the loop, or acting for it
	wake  chan struct{}
}

func newMailbox() *mailbox {
	return &mailbox{wake: make(chan struct{}, 1)}
}

// put adds an event and reports whether the caller has to start the loop.
func (m *mailbox) put(ev event) (start bool) {
	m.mu.Lock()
	m.mail = append(m.mail, ev)
	start = !m.owned
	m.owned = true
	m.mu.Unlock()
	if !start {
		m.signal()
	}
	return start
}

func (m *mailbox) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// take returns the mail; the slice is good until the next call.
func (m *mailbox) take() []event {
	m.mu.Lock()
	defer m.mu.Unlock()
	mail := m.mail
	clear(m.spare[:cap(m.spare)])
	m.mail, m.spare = m.spare[:0], mail
	return mail
}

// own makes the caller the loop if there is none.
func (m *mailbox) own() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.owned {
		return false
	}
	m.owned = true
	return true
}

// disown ends being the loop, unless there is mail: then it reports false.
// There is no other way to end, so that no mail is left lying.
func (m *mailbox) disown() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.mail) > 0 {
		return false
	}
	m.owned = false
	return true
}
