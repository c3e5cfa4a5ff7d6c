package swarm

import "time"

// idler is a PieceStore that can close what it has open and opens it again when
// it is needed.
type idler interface{ CloseIdle() }

// rest has the store of an idle torrent close its files: with a thousand of them
// they would be a thousand open files. It is called when the loop is about to end,
// so there is no timer for it; peers that come and go in turn make it open them
// anew, which costs little beside their handshakes.
func (t *Torrent) rest() {
	t.account(time.Now())
	if s, ok := t.spec.Store.(idler); ok {
		s.CloseIdle()
	}
}

// wrote is called at the end of a connection's writer. The loop may have ended
// before it, at a time when the writer had a file in use: it looks again.
func (c *conn) wrote() { c.t.post(wakeEvent{}) }
