package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/google/renameio/v2"
	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/publish"
	"distd/internal/watch"
)

// watches are the folders that a master publishes by itself.
type watches struct {
	list   []*watch.Watch
	memory watchMemory
}

func (n *Node) watchStatus() []watch.Status {
	var out []watch.Status
	for _, w := range n.watches.list {
		out = append(out, n.statusOf(w))
	}
	return out
}

// statusOf is what a watch says, and whether the newest release is from it.
func (n *Node) statusOf(w *watch.Watch) watch.Status {
	s := w.Status()
	last := n.watches.memory.serial(s.Channel)
	if _, _, p, err := n.store.Pointer(s.Channel); err == nil && last > 0 && p.Serial > last {
		s.Newest = p.Serial
	}
	return s
}

// publishedByHand has the watch of a path look again whose release was held back:
// the operator may have published just that.
func (n *Node) publishedByHand(channel, path string) {
	for _, w := range n.watches.list {
		if s := w.Status(); s.Channel == channel && s.Path == filepath.Clean(path) {
			w.Retry()
		}
	}
}

// hold pauses the watch of a channel for a rollback: what is in its folder is what
// is not wanted. It returns what to tell the operator, "" where nothing is watched,
// and how to undo it.
func (n *Node) hold(channel string) (note string, undo func() error, err error) {
	for _, w := range n.watches.list {
		s := w.Status()
		if s.Channel != channel || s.Paused {
			continue
		}
		const because = "by a rollback"
		if err := n.watches.memory.pause(channel, true, because); err != nil {
			return "", nil, fmt.Errorf("pause the watch of %s: %w", s.Path, err)
		}
		w.Hold(because)
		undo = func() error {
			w.Resume()
			return n.watches.memory.pause(channel, false, "")
		}
		return pausedNote(channel, s.Path), undo, nil
	}
	return "", func() error { return nil }, nil
}

func pausedNote(channel, path string) string {
	return fmt.Sprintf("%s is no longer published by itself, as the next change would bring back what is there; when it is mended: distd watch resume %s", path, channel)
}

// holdAlone is hold in a folder on which no master runs.
func holdAlone(dir, channel string) (note string, err error) {
	m := watchMemory{file: filepath.Join(dir, controlDir, "watch.json")}
	if err := m.load(); err != nil {
		return "", err
	}
	rec := m.records[channel]
	if rec == nil || rec.Paused {
		return "", nil
	}
	return pausedNote(channel, rec.Path), m.pause(channel, true, "by a rollback")
}

// addWatches makes a watch of each path that the configuration names.
func (n *Node) addWatches(cfg *config.Config) error {
	lines := cfg.Watches()
	if len(lines) == 0 {
		return nil
	}
	n.watches.memory.file = filepath.Join(n.store.Dir(), controlDir, "watch.json")
	if err := n.watches.memory.load(); err != nil {
		// Pauses may be lost, which must not go unnoticed.
		return fmt.Errorf("what is known of watched folders: %w; mend or remove the file", err)
	}
	for _, l := range lines {
		rec := n.watches.memory.of(l)
		wc := watch.Config{
			Channel: l.Channel, Path: l.Path, Paused: rec.Paused, PausedBecause: rec.PausedBecause, Marker: cfg.WatchMarker,
			Settle: cfg.WatchSettle, MaxDelay: cfg.WatchMaxDelay, Rescan: cfg.WatchRescan,
			Publish: n.publishWatched, Rules: watchRules, RulesFile: publish.IgnoreFile, Log: n.log.Named("watch"),
		}
		if _, _, p, err := n.store.Pointer(l.Channel); err == nil {
			wc.Since, wc.Known = p.Created, rec.Digest
		}
		w, err := watch.New(wc)
		if err != nil {
			return err
		}
		n.watches.list = append(n.watches.list, w)
	}
	return nil
}

// watchRules are the rules that publishWatched goes by.
func watchRules(dir string) (watch.Rules, error) {
	g, err := publish.OpenIgnore(dir, nil)
	if err != nil {
		return nil, err
	}
	return g, nil
}

// publishWatched publishes what has settled.
func (n *Node) publishWatched(ctx context.Context, r *watch.Request) (watch.Outcome, error) {
	res, err := n.Publish(ctx, PublishRequest{Path: r.Path, Channel: r.Channel, watched: r}, nil)
	if err != nil {
		if ExitCode(err) == ExTempFail {
			err = watch.Later(err)
		}
		return watch.Outcome{}, err
	}
	err = n.watches.memory.change(r.Channel, func(rec *watchRecord) {
		rec.Digest, rec.Serial = r.Digest, res.Serial
		if res.Unchanged {
			return
		}
		for id := range rec.Triggers {
			if _, err := n.store.Release(id); err != nil {
				delete(rec.Triggers, id)
			}
		}
		if rec.Triggers == nil {
			rec.Triggers = map[string]string{}
		}
		rec.Triggers[res.ID] = r.Because
	})
	if err != nil {
		n.log.Warn("cannot keep what was published; after a restart the folder is published again", zap.String("channel", r.Channel), zap.Error(err))
	}
	return watch.Outcome{Serial: res.Serial, Unchanged: res.Unchanged, Unreadable: res.Unreadable}, nil
}

// watchRecord is what must be known of a channel's watch after a restart.
type watchRecord struct {
	Path   string `json:"path"`
	Digest string `json:"digest,omitempty"` // of the tree that was published last
	Serial uint64 `json:"serial,omitempty"` // of its release
	Paused bool   `json:"paused,omitempty"`
	// PausedBecause says why, where it was not by `distd watch`.
	PausedBecause string            `json:"paused_because,omitempty"`
	Triggers      map[string]string `json:"triggers,omitempty"` // by release: why it was published
}

// watchMemory keeps the records of all watches in a file.
type watchMemory struct {
	file    string
	mu      sync.Mutex
	records map[string]*watchRecord // by channel
}

func (m *watchMemory) load() error {
	m.records = map[string]*watchRecord{}
	b, err := os.ReadFile(m.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, &m.records)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", m.file, err)
	}
	for channel, rec := range m.records {
		if rec == nil {
			delete(m.records, channel)
		}
	}
	return nil
}

// of returns the record of a path in a channel. What is known of another path is
// of no use but for the pause, which is the channel's.
func (m *watchMemory) of(l config.WatchLine) watchRecord {
	m.mu.Lock()
	defer m.mu.Unlock()
	rec := m.records[l.Channel]
	if rec == nil {
		rec = &watchRecord{}
		m.records[l.Channel] = rec
	}
	if rec.Path != l.Path {
		rec.Path, rec.Digest, rec.Serial = l.Path, "", 0
	}
	return *rec
}

// change changes a channel's record, and keeps it.
func (m *watchMemory) change(channel string, f func(*watchRecord)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m.records[channel])
	b, err := json.MarshalIndent(m.records, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(m.file, b, 0o600)
}

// pause keeps a pause, or its end.
func (m *watchMemory) pause(channel string, paused bool, because string) error {
	return m.change(channel, func(r *watchRecord) { r.Paused, r.PausedBecause = paused, because })
}

// serial is that of the release that a watch has made last, or found to have what
// it watches; 0 when that is not known.
func (m *watchMemory) serial(channel string) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if rec := m.records[channel]; rec != nil {
		return rec.Serial
	}
	return 0
}

// trigger says why a release was published, "" when that was not by itself.
func (m *watchMemory) trigger(channel, id string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if rec := m.records[channel]; rec != nil {
		return rec.Triggers[id]
	}
	return ""
}
