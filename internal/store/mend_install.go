package store

import (
	"context"
	"os"

	"distd/internal/manifest"
)

// mendTree renames the new files into place and sets everything else right. The
// caller holds s.activity.
func (m *mender) mendTree(ctx context.Context) error {
	others := map[string]*Release{}
	err := m.s.withContent(m.r, func(c *content) error {
		if err := c.makeDirs(ctx); err != nil {
			return err
		}
		for name, tmp := range m.built {
			if err := m.replace(c, name, tmp, others); err != nil {
				return err
			}
			delete(m.built, name)
		}
		if err := m.mendEntries(c); err != nil {
			return err
		}
		if err := c.makeHardLinks(ctx, m.left); err != nil {
			return err
		}
		if err := c.removeExtras(ctx); err != nil {
			return err
		}
		return c.finishDirs(ctx) // their times have changed
	})
	if err != nil {
		return err
	}
	for _, r := range others {
		err := m.s.withContent(r, func(c *content) error {
			// What got a copy of the new file has other names for it.
			if err := c.makeHardLinks(ctx, nil); err != nil {
				return err
			}
			return c.finishDirs(ctx)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// mendEntries sets modes, owners and symlinks right. Mode and owner belong to the
// inode: what shares it had the right ones too.
func (m *mender) mendEntries(c *content) error {
	for _, p := range m.Fixed {
		f := m.files[p.Path]
		switch {
		case p.Kind == ProblemOwner && p.Path != m.s.abs(m.r.Manifest.Name):
			if err := c.chown(p.Path); err != nil {
				return err
			}
		case f == nil:
		case f.Symlink != "":
			if err := m.symlink(c, p.Path, f); err != nil {
				return err
			}
		case p.Kind == ProblemMode:
			if err := c.chmod(p.Path, os.FileMode(f.Mode)); err != nil {
				return err
			}
		}
	}
	return nil
}

// symlink replaces what is at the name by a symlink, in one step unless it is a
// folder.
func (m *mender) symlink(c *content, name string, f *manifest.File) error {
	tmp := tmpDir + "/" + tempName("link")
	if err := m.s.fs.symlink(f.Symlink, tmp); err != nil {
		return err
	}
	if err := m.put(c, tmp, name); err != nil {
		return err
	}
	return c.finishSymlink(name, f)
}

// put renames what is at tmp to a name of the release.
func (m *mender) put(c *content, tmp, name string) error {
	if st, err := c.root.Lstat(name); err == nil && st.IsDir() {
		if err := c.purge(name); err != nil {
			return err
		}
	}
	return m.s.fs.rename(tmp, m.path(name))
}

// replace gives a new file its name, in this release and in each that has the
// old one. The live name of a release with a single file comes last: until then
// the journal of names knows the old file as a copy of the release.
func (m *mender) replace(c *content, name, tmp string, others map[string]*Release) error {
	f := m.files[name]
	old, err := c.root.Lstat(name)
	if err != nil || !old.Mode().IsRegular() {
		old = nil
	}
	type place struct {
		r    *Release
		path string
		file *manifest.File
	}
	places := []place{{m.r, m.path(name), f}}
	if old != nil && nlink(old) > 1 {
		m.twins(f, func(r *Release, path string, twin *manifest.File) bool {
			if st, err := m.s.root.Lstat(path); err == nil && os.SameFile(st, old) {
				places = append(places, place{r, path, twin})
			}
			return false
		})
	}
	for i, p := range places {
		relink, err := m.beginRelink(p.r, old)
		if err != nil {
			return err
		}
		switch {
		case i == 0:
			err = m.put(c, tmp, name)
		case p.file.Mode == f.Mode && p.file.MTime == f.MTime:
			err = m.linkOver(places[0].path, p.path, true)
		default: // once shared with another mode or time: no longer
			err = m.copyOver(places[0].path, p.path, p.file)
		}
		if err == nil && relink {
			err = m.endRelink(p.r)
		}
		if err != nil {
			return err
		}
		m.Files[p.r.ID]++
		if p.r != m.r {
			others[p.r.ID] = p.r
		}
	}
	return nil
}

// linkOver puts the file at from under the name to as well, in one step.
func (m *mender) linkOver(from, to string, orCopy bool) error {
	tmp := tmpDir + "/" + tempName("mend")
	err := m.s.fs.link(from, tmp)
	if err != nil && orCopy && noLinks(err) {
		err = m.s.fs.copyFile(from, tmp)
	}
	if err == nil {
		err = m.s.fs.rename(tmp, to)
	}
	if err != nil {
		_ = m.s.fs.removeIfThere(tmp)
	}
	return err
}

// copyOver puts a copy of the file at from under the name to, with the mode and
// time of f.
func (m *mender) copyOver(from, to string, f *manifest.File) error {
	tmp := tmpDir + "/" + tempName("mend")
	err := m.s.fs.copyFile(from, tmp)
	if err == nil {
		err = m.s.fs.do(op{kind: "set mode and time of", path: tmp}, func() error {
			st, err := m.s.root.Lstat(tmp)
			if err != nil {
				return err
			}
			return withFile(m.s.root, tmp, st, func(h *os.File) error { return m.s.fs.settle(h, tmp, os.FileMode(f.Mode), f.MTime, true) })
		})
	}
	if err == nil {
		err = m.s.fs.rename(tmp, to)
	}
	if err != nil {
		_ = m.s.fs.removeIfThere(tmp)
	}
	return err
}

// beginRelink notes, where the live name is the file that is about to be replaced
// in the release, that distd has made it: a crash before endRelink leaves a live
// name that the next Check finds, and that may be replaced.
func (m *mender) beginRelink(r *Release, old os.FileInfo) (relink bool, err error) {
	name := r.Manifest.Name
	if old == nil || r.Manifest.Kind != manifest.KindFile {
		return false, nil
	}
	st, err := m.s.root.Lstat(name)
	if err != nil || !os.SameFile(st, old) {
		return false, nil //nolint:nilerr // no live name, or another one
	}
	return true, m.s.changeName(name, func(rec *nameRec) { rec.Copy = identOf(st) })
}

// endRelink makes the live name the release's new file.
func (m *mender) endRelink(r *Release) error {
	name := r.Manifest.Name
	if err := m.linkOver(r.live(), name, false); err != nil {
		return err
	}
	if err := m.s.fs.syncDir("."); err != nil {
		return err
	}
	return m.s.changeName(name, func(rec *nameRec) { rec.Copy = nil })
}

// changeName changes the record of a live name.
func (s *Store) changeName(name string, fn func(*nameRec)) error {
	return s.update("name "+name, func(t tx) error {
		rec, ok, err := get[nameRec](t, bucketNames, name)
		if err != nil || !ok {
			return err
		}
		fn(&rec)
		return put(t, bucketNames, name, rec)
	})
}

// withContent opens the content of a complete release for changes.
func (s *Store) withContent(r *Release, fn func(*content) error) error {
	defer s.ids.lock(r.ID)()
	c, done, err := s.openContent(r)
	if err != nil {
		return err
	}
	defer done()
	return fn(c)
}
