package bttrack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"time"

	"go.uber.org/zap"
)

// watched is a file that is read again when it has changed.
type watched struct {
	path  string
	stamp stamp
}

// changed says whether the file is another than at the last look.
func (w *watched) changed() (bool, error) {
	info, err := os.Stat(w.path)
	if err != nil {
		return false, err
	}
	s := stampOf(info)
	if s == w.stamp {
		return false, nil
	}
	w.stamp = s
	return true, nil
}

// addrList is a file of addresses; none is in force when it has no path.
type addrList struct {
	file  watched
	parse func(string) (addrRange, error)
}

// look reads the file when it has changed; set is nil when it has not. A list
// that lacks a line would let in whom it is to keep out, or the other way round,
// so that bad lines are reported while the good ones hold.
func (l *addrList) look() (set *addrSet, bad, err error) {
	changed, err := l.file.changed()
	if err != nil || !changed {
		return nil, nil, err
	}
	data, err := readFile(l.file.path, maxList)
	if err != nil {
		l.file.stamp = stamp{} // once more next time
		return nil, nil, err
	}
	s, bad := parseAddrs(data, l.parse)
	return &s, bad, nil
}

// admit says whether an address may ask.
func (t *Tracker) admit(a netip.Addr) bool {
	if set := t.allowed.Load(); set != nil && !set.has(a) {
		return false
	}
	set := t.banned.Load()
	return set == nil || !set.has(a)
}

// look reads everything that has changed in folder and lists. An error is of
// what cannot be read at all; what was known before then stays in force.
func (t *Tracker) look() error { return errors.Join(t.lookAddrs(), t.lookTorrents()) }

// lookAddrs reads which addresses may ask.
func (t *Tracker) lookAddrs() error {
	var errs []error
	for name, l := range map[string]*addrList{"allowed_ips": &t.allowedList, "banned_ips": &t.bannedList} {
		if l.file.path == "" {
			continue
		}
		set, bad, err := l.look()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		if bad != nil {
			t.log.Warn("lines of an address list are passed over", zap.String("file", l.file.path), zap.Error(bad))
		}
		switch {
		case set == nil:
		case name == "allowed_ips":
			t.allowed.Store(set)
		default:
			t.banned.Store(set)
		}
	}
	return errors.Join(errs...)
}

// lookTorrents reads which torrents are served.
func (t *Tracker) lookTorrents() error {
	var now map[infoHash]served
	switch {
	case t.opts.AllowedList != "":
		changed, err := t.listFile.changed()
		if err != nil || !changed {
			return wrap("allowed_list", err)
		}
		list, bad, err := readList(t.listFile.path)
		if err != nil {
			t.listFile.stamp = stamp{}
			return wrap("allowed_list", err)
		}
		if bad != nil {
			t.log.Warn("lines of allowed_list are passed over", zap.String("file", t.listFile.path), zap.Errors("lines", bad))
		}
		now = list
	case t.opts.AllowedDir != "":
		found, err := t.folder.look(t.reportFile)
		if err != nil {
			return wrap("allowed_dir", err)
		}
		now = found
	default:
		return nil
	}
	t.serve(now)
	return nil
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// reportFile tells of a file of allowed_dir that is not served, once for each
// state of it.
func (t *Tracker) reportFile(path string, err error) {
	text := err.Error()
	if t.reported[path] == text {
		return
	}
	t.reported[path] = text
	t.log.Warn("torrent of allowed_dir is not taken", zap.String("file", path), zap.Error(err))
}

// serve makes these torrents, and no others, those that are served.
func (t *Tracker) serve(now map[infoHash]served) {
	t.mu.Lock()
	before := t.served
	t.served = now
	t.mu.Unlock()
	added, gone := 0, 0
	for ih, s := range now {
		if old, ok := before[ih]; ok && old.name == s.name {
			continue
		}
		t.server.Allow(ih, s.name)
		added++
	}
	for ih := range before {
		if _, ok := now[ih]; !ok {
			t.server.Forbid(ih)
			gone++
		}
	}
	if added+gone > 0 {
		t.log.Info("torrents are served", zap.Int("torrents", len(now)), zap.Int("new", added), zap.Int("gone", gone))
	}
}

// watch looks for changes until ctx ends, now and then and when told to.
func (t *Tracker) watch(ctx context.Context) error {
	tick := time.NewTicker(t.opts.Look)
	defer tick.Stop()
	failed := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-t.again:
		}
		err := t.look()
		if text := fmt.Sprint(err); err != nil && text != failed {
			level := t.log.Error
			if errors.Is(err, fs.ErrNotExist) {
				level = t.log.Warn // it may be about to be replaced
			}
			level("folder or lists cannot be read; what they said before stays in force", zap.Error(err))
		}
		failed = fmt.Sprint(err)
	}
}
