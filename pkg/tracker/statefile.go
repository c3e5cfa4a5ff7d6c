package tracker

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"time"

	"github.com/google/renameio/v2"
	"go.uber.org/zap"
)

// saveState replaces the state file, if anything changed since the last time.
// Each swarm is copied under its lock and written without it.
func (s *Server) saveState() error {
	if s.cfg.StateFile == "" || !s.dirty.Swap(false) {
		return nil
	}
	err := s.writeState(s.cfg.StateFile)
	if err != nil {
		s.dirty.Store(true)
	}
	return err
}

func (s *Server) writeState(path string) error {
	mode := []renameio.Option{renameio.WithStaticPermissions(0o600)}
	if s.cfg.Bttrack != nil { // others may have to read it, as they did
		mode = []renameio.Option{renameio.WithPermissions(0o644), renameio.WithExistingPermissions()}
	}
	f, err := renameio.NewPendingFile(path, mode...)
	if err != nil {
		return err
	}
	defer func() { _ = f.Cleanup() }() // does nothing once the file is in place
	buf := bufio.NewWriterSize(f, 1<<16)
	if s.cfg.Bttrack != nil {
		err = s.writeDfile(buf)
	} else {
		err = s.writeOwnState(buf)
	}
	if err != nil {
		return err
	}
	if err := buf.Flush(); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}

// writeOwnState writes the state in this package's own form.
func (s *Server) writeOwnState(w io.Writer) error {
	out, err := newStateWriter(w, s.cfg.Now().Unix())
	if err != nil {
		return err
	}
	now := s.second()
	var t torrentState
	s.store.each(func(ih [20]byte, w *swarm) {
		if err == nil && w.snapshot(&t, now) {
			t.infoHash = ih
			err = out.torrent(&t)
		}
	})
	if err != nil {
		return err
	}
	return out.close()
}

// Save writes the state now, changed or not, so that a place where it cannot be
// kept is known at once.
func (s *Server) Save() error {
	s.dirty.Store(true)
	return s.saveState()
}

// snapshot copies what is saved of the swarm to t; ok is false when there is
// nothing to keep.
func (w *swarm) snapshot(t *torrentState, now int32) (ok bool) {
	w.mu.Lock()
	t.completed = w.completed
	t.peers = append(append(t.peers[:0], w.leeches...), w.seeds...)
	gone := w.gone
	w.mu.Unlock()
	for i := range t.peers {
		t.peers[i].expires = max(0, t.peers[i].expires-now)
	}
	return !gone && (len(t.peers) > 0 || t.completed > 0)
}

// loadState reads the state file into the empty store.
func (s *Server) loadState() error {
	path := s.cfg.StateFile
	data, err := readBounded(path, s.stateLimit())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var tooLarge *tooLargeError
	if err != nil && !errors.As(err, &tooLarge) {
		return err
	}
	if err == nil {
		err = s.parseStateFile(data)
	}
	if err == nil {
		return nil
	}
	aside := path + ".damaged"
	s.cfg.Log.Warn("tracker state cannot be used and is set aside; peers are known again when they announce",
		zap.String("file", path), zap.String("aside", aside), zap.Error(err))
	if err := os.Rename(path, aside); err != nil {
		return fmt.Errorf("set damaged state aside: %w", err)
	}
	return nil
}

// parseStateFile reads a state file of the form that is kept.
func (s *Server) parseStateFile(data []byte) error {
	if s.cfg.Bttrack == nil {
		return parseState(data, s.restore)
	}
	saved := s.cfg.Now().Unix()
	if info, err := os.Stat(s.cfg.StateFile); err == nil {
		saved = info.ModTime().Unix()
	}
	extra, err := parseDfile(data, int32(seconds(s.cfg.Expiry)), func(t *torrentState) { s.restore(saved, t) })
	s.extra = extra
	var skipped *skippedError
	if errors.As(err, &skipped) {
		s.cfg.Log.Warn("parts of the dfile are passed over", zap.String("file", s.cfg.StateFile), zap.Error(err))
		return nil
	}
	return err
}

// stateLimit is the size of the largest file that the bounds of the server
// allow, with room for torrents that were allowed beyond them.
func (s *Server) stateLimit() int64 {
	if s.cfg.Bttrack != nil {
		return 64<<20 + int64(s.cfg.MaxPeers)*512 + int64(s.cfg.MaxTorrents)*1024
	}
	return int64(stateHead+stateTail) + int64(s.cfg.MaxPeers)*int64(statePeer) + (int64(s.cfg.MaxTorrents)+1_000_000)*int64(stateTorrent)
}

type tooLargeError struct{ limit int64 }

func (e *tooLargeError) Error() string {
	return fmt.Sprintf("file is larger than %d bytes, the most that this configuration can need", e.limit)
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if info.Size() > limit {
		return nil, &tooLargeError{limit}
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return data, nil
}

// restore takes over a torrent of the state file. Peers keep the time that they
// had left: they could not reach us while we were away. After an absence longer
// than the expiry they are taken for gone. The torrent is served once it is
// allowed.
func (s *Server) restore(unix int64, t *torrentState) {
	away := s.cfg.Now().Sub(time.Unix(unix, 0))
	now := s.second()
	w := s.store.create(t.infoHash, 0, now)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.completed = t.completed
	w.changed = now - int32(seconds(s.cfg.Interval)) // our restart is no news in the swarm
	if away.Abs() > s.cfg.Expiry {
		return
	}
	longest := int32(max(2*max(maxInterval, seconds(s.cfg.Interval))+60, seconds(s.cfg.Expiry)))
	for _, e := range t.peers {
		if s.cfg.Admit != nil && !s.cfg.Admit(e.key.addr()) || !s.allows(KeptOutDisk, netip.AddrPortFrom(e.key.addr(), e.key.port())) {
			continue
		}
		if w.find(e.key) == nil && !s.room(w) {
			return
		}
		e.expires = now + min(e.expires, longest)
		w.put(e)
	}
}
