package node

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// errMore ends a walk at the first thing that is too many.
var errMore = errors.New("it has more")

// hasMore says whether a folder that is followed has what the version does not
// have, such as files of the one before. Then it is replaced though all that is
// wanted is there. Without a manifest nothing is known of symlinks and empty
// folders, and the folders stay.
func (d *download) hasMore() (bool, error) {
	t := d.target
	if d.switching == nil || d.known || t.selected != nil {
		return false, nil
	}
	wanted, dirs := map[string]bool{}, map[string]bool{}
	add := func(p string) { // a folder has a slash behind it
		wanted[p] = true
		for p = path.Dir(p); !dirs[p] && p != "."; p = path.Dir(p) {
			dirs[p] = true
		}
	}
	for _, f := range t.layout.Files {
		add(f.Path)
	}
	m := d.manifest()
	if m != nil {
		for i := range m.Files {
			add(m.ContentPath(m.Files[i].Path))
		}
		for _, f := range m.Dirs {
			add(m.ContentPath(f.Path) + "/")
		}
	}
	err := filepath.WalkDir(d.finalPath(), func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(d.fetch.o.Dir, p)
		rel = filepath.ToSlash(rel)
		if err == nil && (e.IsDir() && !dirs[rel] && m != nil || !e.IsDir() && !wanted[rel]) {
			err = errMore
		}
		return err
	})
	if errors.Is(err, errMore) {
		return true, nil
	}
	if errors.Is(err, os.ErrNotExist) {
		err = nil // somebody else is at it
	}
	return false, err
}
