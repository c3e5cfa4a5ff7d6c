package swarm

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"distd/pkg/swarm/wire"
)

const (
	docsTime = 5 * time.Second
	// docsRetry is when documents that could not be loaded are tried again.
	docsRetry = 5 * time.Second
	// maxDocsHeld bounds the documents of all torrents that are in memory, beside
	// those of maxDocsLoading that are being loaded.
	maxDocsHeld    = wire.DefaultMaxDocs
	maxDocsLoading = 2
	// maxDocsWaiting is how many requests of one peer wait for them to be loaded.
	maxDocsWaiting = 2 * docsWindow
)

// docs are the documents of a torrent, while peers ask for them. They belong to
// the loop.
type docs struct {
	blob    []byte // nil: not here
	loading bool
	old     bool      // what is being loaded was changed meanwhile
	asked   time.Time // the last time
	retry   time.Time // not to be loaded before
}

// docsCame handles a message about documents: only requests mean something to
// a torrent, which has them or has no use for them.
func (t *Torrent) docsCame(c *conn, data []byte) error {
	m, err := wire.DecodeDocs(data, 0)
	if err != nil {
		return err
	}
	if m.Kind != wire.MetadataRequest || c.docsID == 0 {
		return nil
	}
	now := time.Now()
	t.docs.asked = now
	if t.docs.blob != nil || t.spec.Documents == nil || now.Before(t.docs.retry) || len(c.docsWaiting) >= maxDocsWaiting {
		c.sendDocs(m.Piece)
		return nil
	}
	c.docsWaiting = append(c.docsWaiting, m.Piece)
	t.loadDocs()
	return nil
}

// sendDocs answers a request for a part, by refusing it when it is not here.
func (c *conn) sendDocs(part int) { c.sendPart(c.docsID, c.t.docs.blob, part, &c.docsServed) }

// loadDocs has the documents loaded beside the loop.
func (t *Torrent) loadDocs() {
	if t.docs.loading {
		return
	}
	e := t.e
	t.docs.loading = e.spawn(func() {
		ctx := e.context()
		select {
		case e.shelf.loading <- struct{}{}:
			defer func() { <-e.shelf.loading }()
			blob, err := t.spec.Documents()
			t.post(docsEvent{blob, err})
		case <-ctx.Done():
		}
	})
}

// docsEvent says what became of loading documents.
type docsEvent struct {
	blob []byte
	err  error
}

func (ev docsEvent) apply(t *Torrent) {
	t.docs.loading = false
	if t.ended {
		return
	}
	if t.docs.old {
		t.docs.old = false
		t.loadDocs()
		return
	}
	if n := len(ev.blob); ev.err == nil && (n == 0 || n > wire.DefaultMaxDocs) {
		ev.err = fmt.Errorf("they have %d bytes, not 1 to %d", n, wire.DefaultMaxDocs)
	}
	if ev.err != nil {
		t.docs.retry = time.Now().Add(docsRetry)
		t.log.Warn("the release's documents cannot be loaded; peers that ask for them are refused", zap.Error(ev.err))
	} else {
		t.docs.blob = ev.blob
		t.e.shelf.put(t, len(ev.blob))
	}
	for _, c := range t.conns {
		for _, part := range c.docsWaiting {
			c.sendDocs(part)
		}
		c.docsWaiting = nil
	}
}

// tickDocs forgets documents that nobody has asked for in a while.
func (t *Torrent) tickDocs(now time.Time) {
	if t.docs.blob != nil && now.Sub(t.docs.asked) > t.e.cfg.docsTime {
		t.forgetDocs()
	}
}

// ReloadDocuments says that the documents have changed: peers that ask from here on
// get them as they are now.
func (t *Torrent) ReloadDocuments() {
	t.post(callEvent(func(t *Torrent) {
		t.forgetDocs()
		t.docs.retry, t.docs.old = time.Time{}, t.docs.loading
	}))
}

func (t *Torrent) forgetDocs() {
	t.docs.blob = nil
	t.e.shelf.drop(t)
}

// docsShelf bounds the documents that all torrents of an engine hold: those that
// were loaded first make room.
type docsShelf struct {
	loading chan struct{}

	mu    sync.Mutex
	held  []heldDocs
	bytes int
}

type heldDocs struct {
	t     *Torrent
	bytes int
}

// put notes that a torrent holds so many bytes, and has others forget theirs.
func (s *docsShelf) put(t *Torrent, n int) {
	s.drop(t)
	var out []heldDocs
	s.mu.Lock()
	for ; len(s.held) > 0 && s.bytes+n > maxDocsHeld; s.held = s.held[1:] {
		s.bytes -= s.held[0].bytes
		out = append(out, s.held[0])
	}
	s.held = append(s.held, heldDocs{t, n})
	s.bytes += n
	s.mu.Unlock()
	for _, h := range out {
		h.t.post(callEvent((*Torrent).forgetDocs))
	}
}

func (s *docsShelf) drop(t *Torrent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = slices.DeleteFunc(s.held, func(h heldDocs) bool {
		if h.t == t {
			s.bytes -= h.bytes
		}
		return h.t == t
	})
}
