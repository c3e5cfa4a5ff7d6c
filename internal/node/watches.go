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

func (ws *watches) status() []watch.Status {
	var out []watch.Status
	for _, w := range ws.list {
		out = append(out, w.Status())
	}
	return out
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
			Channel: l.Channel, Path: l.Path, Paused: rec.Paused, Marker: cfg.WatchMarker,
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
		rec.Digest = r.Digest
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
	Path     string            `json:"path"`
	Digest   string            `json:"digest,omitempty"` // of the tree that was published last
	Paused   bool              `json:"paused,omitempty"`
	Triggers map[string]string `json:"triggers,omitempty"` // by release: why it was published
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
		rec.Path, rec.Digest = l.Path, ""
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

// trigger says why a release was published, "" when that was not by itself.
func (m *watchMemory) trigger(channel, id string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if rec := m.records[channel]; rec != nil {
		return rec.Triggers[id]
	}
	return ""
}
