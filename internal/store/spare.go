package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"distd/internal/manifest"
)

// A spare is a second tree of a live release: folders of its own, and hard links
// to the release's files. It is made while there is time, so that the next release
// of the channel begins with a tree in which nothing but the differences is left
// to do, and nothing but those to be synced.
//
// It lies in tmp, where versions that know nothing of it delete it, under a name
// that begins with sparePrefix and ends with the ID of its release, and gets that
// name when all of it is durable. Who takes it renames it first: after a crash
// what was changed in it is deleted with the rest of tmp. It is trusted no more
// than files of a release that are linked one by one: each is looked at, and
// folders have the times of the manifest, which they lose when a name in them
// changes.
const sparePrefix = "spare-"

// spareFiles is the number of files from which on a tree gets a spare.
const spareFiles = 300

// errNoSpare says why there is none; it is nobody's fault.
var errNoSpare = errors.New("no spare tree")

func spareDir(id string) string { return tmpDir + "/" + sparePrefix + id }

// spare is the spare of a release as a release of its own, for what works on
// content.
func (s *Store) spare(of *Release, dir string) *Release {
	r := s.newRelease(of.ID, of.Manifest, false)
	r.path = dir
	r.Dir = s.abs(dir)
	return r
}

// PrepareSpare makes the spare of the channel's live release, unless there is one,
// and removes those of the channel's other releases. It says whether it has made
// one. None is made of what is not a tree of some hundreds of files, of one with a
// file that cannot be linked, or that is no longer what was verified, and where
// inodes are scarce: then there is none, and no error.
func (s *Store) PrepareSpare(ctx context.Context, channel string) (made bool, err error) {
	live, ok := s.Live(channel)
	if !ok {
		return false, nil
	}
	defer s.ids.lock(live)()
	r, err := s.Release(live)
	if err != nil || !r.Complete || !s.deservesSpare(r.Manifest) {
		return false, nil //nolint:nilerr // it was removed meanwhile
	}
	if err := s.dropSpares(func(id string) bool { return id != live && s.channelOf(id) == channel }); err != nil {
		return false, err
	}
	if _, err := s.root.Lstat(spareDir(live)); err == nil {
		return false, nil
	}
	tmp := tmpDir + "/" + tempName("spare")
	err = s.makeSpare(ctx, r, tmp)
	if err == nil {
		err = s.fs.rename(tmp, spareDir(live))
	}
	if err == nil {
		return true, s.fs.syncDir(tmpDir)
	}
	err = errors.Join(err, s.fs.purge(tmp))
	if errors.Is(err, errNoSpare) || errors.Is(err, ErrIncomplete) {
		s.log.Debug("no spare tree is made", zap.String("channel", channel), zap.String("release", live), zap.Error(err))
		return false, nil
	}
	return false, fmt.Errorf("spare tree of release %s of channel %s: %w", live, channel, err)
}

// DropSpares removes all spares.
func (s *Store) DropSpares() error { return s.dropSpares(func(string) bool { return true }) }

// dropSparesOf removes the spares of these releases, and those that are being made
// now.
func (s *Store) dropSparesOf(ids iter.Seq[string]) error {
	for id := range ids {
		unlock := s.ids.lock(id)
		err := s.dropSpares(func(of string) bool { return of == id })
		unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// Spare says whether a release has a spare.
func (s *Store) Spare(id string) bool {
	_, err := s.root.Lstat(spareDir(id))
	return err == nil
}

// deservesSpare says whether a release is one that a spare helps with. Names that
// the manifest links would have to be told from those that the spare itself adds:
// trees with hard links are made anew each time.
func (s *Store) deservesSpare(m *manifest.Manifest) bool {
	return !s.noHardLinks && m.Kind == manifest.KindTree && len(m.Files) >= s.spareFiles &&
		!slices.ContainsFunc(m.Files, func(f manifest.File) bool { return f.Hardlink != "" })
}

func (s *Store) channelOf(id string) string {
	r, err := s.Release(id)
	if err != nil {
		return ""
	}
	return r.Manifest.Channel
}

// dropSpares removes the spares of releases, by their IDs.
func (s *Store) dropSpares(which func(id string) bool) error {
	ids, err := s.spares()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if !which(id) {
			continue
		}
		// Deleting it takes time, in which nobody shall take it.
		old := tmpDir + "/" + tempName("spare")
		if err := s.fs.rename(spareDir(id), old); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		if err := s.endSpare(old); err != nil {
			return err
		}
	}
	return nil
}

// endSpare deletes a spare that has lost its name, which it must not have again
// with half of what was in it. What cannot be deleted takes space, no more.
func (s *Store) endSpare(tmp string) error {
	if err := s.fs.syncDir(tmpDir); err != nil {
		return err
	}
	if err := s.fs.purge(tmp); err != nil {
		s.log.Warn("cannot delete what is no longer needed", zap.Error(err))
	}
	return nil
}

// spares lists the releases that have one.
func (s *Store) spares() (ids []string, err error) {
	entries, err := readDir(s.root, tmpDir)
	if err != nil {
		return nil, explain("read folder", s.abs(tmpDir), err)
	}
	for _, e := range entries {
		if id, ok := strings.CutPrefix(e.Name(), sparePrefix); ok && manifest.ValidID(id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// sweepSpares removes those of releases that are gone: they would hold their
// content.
func (s *Store) sweepSpares(func(id string) bool) error {
	return s.dropSpares(func(id string) bool {
		r, err := s.Release(id)
		return err != nil || !r.Complete
	})
}

// makeSpare makes a durable tree of links under a temporary name.
func (s *Store) makeSpare(ctx context.Context, r *Release, tmp string) error {
	if err := s.roomForSpare(r.Manifest); err != nil {
		return err
	}
	sp := s.spare(r, tmp)
	for _, d := range []string{tmp, tmp + "/" + contentDir} {
		if err := s.fs.mkdir(d, 0o755); err != nil {
			return err
		}
	}
	c, done, err := s.openContent(sp)
	if err != nil {
		return err
	}
	defer done()
	if err := c.makeDirs(ctx); err != nil {
		return err
	}
	u := &reuser{s: s, to: sp, how: ReuseLink, all: true, taken: map[uint64]bool{}}
	defer u.close()
	u.list(func(int) bool { return true })
	if err := u.open(); err != nil {
		return err
	}
	u.linked = make([]uint64, len(r.Manifest.Files))
	if err := u.from(ctx, r, true); err != nil {
		return err
	}
	for i := range u.files {
		if w := &u.files[i]; u.linked[w.place] == 0 {
			return fmt.Errorf("%w: %s cannot be linked", errNoSpare, w.Path)
		}
	}
	c.linked = u.linked
	if err := c.finish(ctx); err != nil {
		return err
	}
	for _, d := range []string{tmp + "/" + contentDir, tmp} {
		if err := s.fs.syncDir(d); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// roomForSpare says whether there are inodes for a spare's folders and as many
// again, twice.
func (s *Store) roomForSpare(m *manifest.Manifest) error {
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return explain("look at the free space of", s.dir, err)
	}
	if need := uint64(4 * (len(m.Dirs) + 16)); st.Files > 0 && st.Ffree < max(need, st.Files/50) {
		return fmt.Errorf("%w: %d of %d inodes are free", errNoSpare, st.Ffree, st.Files)
	}
	return nil
}

// spareTree is what is known of a staged release's content since it was a spare.
type spareTree struct {
	// settled are the folders, below the content root, that are as the manifest
	// says and durable, with all that is in them.
	settled map[string]bool
}

// takeSpare makes the content of a staged release, in which nothing is yet, of a
// spare of its channel. It returns false where there is none to be had, and what
// is staged is as it was.
func (u *reuser) takeSpare(ctx context.Context) (bool, error) {
	if u.how != ReuseLink || !u.s.deservesSpare(u.to.Manifest) {
		return false, nil
	}
	base := u.spareBase()
	if base == nil || !u.bare() {
		return false, nil
	}
	s := u.s
	tmp := tmpDir + "/" + tempName("spare")
	if err := s.fs.rename(spareDir(base.ID), tmp); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	sh, err := s.reshape(ctx, base, u.to, tmp)
	if err == nil {
		err = u.place(tmp)
	}
	if err != nil {
		err = errors.Join(err, s.endSpare(tmp))
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		s.log.Debug("the spare tree is not used", zap.String("base", base.ID), zap.Error(err))
		return false, nil
	}
	u.linked = sh.inodes
	s.noteTree(u.to.ID, &spareTree{settled: sh.settled})
	s.log.Debug("took the spare tree", zap.String("base", base.ID), zap.Int("files", sh.kept), zap.Int("of", len(u.to.Manifest.Files)),
		zap.Int("folders_moved", len(sh.moved)), zap.Int("folders_as_they_were", len(sh.settled)))
	return true, nil
}

// spareBase is the newest release of the channel that has a spare.
func (u *reuser) spareBase() *Release {
	ids, err := u.s.spares()
	if err != nil || len(ids) == 0 {
		return nil
	}
	for _, r := range u.sources() {
		if r.Manifest.Channel == u.to.Manifest.Channel && slices.Contains(ids, r.ID) {
			return r
		}
	}
	return nil
}

// bare says whether the staged content has nothing but folders and empty files.
func (u *reuser) bare() bool {
	err := fs.WalkDir(u.s.root.FS(), u.to.path+"/"+contentDir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		st, err := d.Info()
		if err == nil && (st.Size() > 0 || !st.Mode().IsRegular()) {
			err = fs.ErrExist
		}
		return err
	})
	return err == nil
}

// place puts the tree of a spare where the release has its own.
func (u *reuser) place(tmp string) error {
	d, name := u.s.fs, "/"+contentDir+"/"+u.to.Manifest.Name
	empty := u.to.path + name
	if _, err := u.s.root.Lstat(empty); err == nil {
		if err := d.purge(empty); err != nil {
			return err
		}
	}
	if err := d.rename(tmp+name, empty); err != nil {
		return err
	}
	// What held it is empty.
	for _, left := range []string{tmp + "/" + contentDir, tmp} {
		if err := d.remove(left); err != nil {
			u.s.log.Warn("cannot delete what is no longer needed", zap.Error(err))
		}
	}
	return nil
}

// noteTree remembers what is known of a staged release's content.
func (s *Store) noteTree(id string, t *spareTree) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trees[id] = t
}

// settledIn returns the folders of a staged release that are settled; nil for none.
func (s *Store) settledIn(id string) map[string]bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if t := s.trees[id]; t != nil {
		return t.settled
	}
	return nil
}

// unsettle takes out the folders that are not as they were left: names in them
// have changed since, by whomever.
func (c *content) unsettle() {
	for _, d := range c.dirs {
		if !c.settled[d.Path] {
			continue
		}
		st, err := c.root.Lstat(d.Path)
		if err != nil || !c.rightDir(st, &d) {
			delete(c.settled, d.Path)
		}
	}
}

func (c *content) rightDir(st fs.FileInfo, d *manifest.Dir) bool {
	return st.IsDir() && uint32(st.Mode().Perm()) == d.Mode && sameTime(st.ModTime(), d.MTime) && c.owner.hasFile(st)
}

// isSettled says whether the file's folder is.
func (c *content) isSettled(name string) bool { return len(c.settled) > 0 && c.settled[path.Dir(name)] }
