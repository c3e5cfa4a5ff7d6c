package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"distd/internal/manifest"
)

// noLinks says whether a hard link failed because the file system, or its
// settings, do not permit this one, so that a copy may do.
func noLinks(err error) bool {
	for _, e := range []error{syscall.EPERM, syscall.EACCES, syscall.EOPNOTSUPP, syscall.ENOSYS, syscall.EMLINK, syscall.EXDEV} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// shows says whether the live name leads to the release.
func (s *Store) shows(name string, r *Release) (bool, error) {
	rec, err := s.nameRec(name)
	if err != nil {
		return false, err
	}
	if rec.ID != r.ID {
		rec.Copy = nil
	}
	return s.showsCopy(name, r, rec.Copy)
}

// showsCopy is shows with the identity of the copy, if the live file is one.
func (s *Store) showsCopy(name string, r *Release, copied *fileIdent) (bool, error) {
	st, err := s.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, explain("look at", s.abs(name), err)
	}
	if r.Manifest.Kind == manifest.KindTree {
		target, err := s.root.Readlink(name)
		return err == nil && target == r.live(), nil
	}
	if !st.Mode().IsRegular() {
		return false, nil
	}
	if copied != nil {
		return *copied == *identOf(st), nil
	}
	own, err := s.root.Lstat(r.live())
	return err == nil && os.SameFile(st, own), nil
}

func (s *Store) nameRec(name string) (rec nameRec, err error) {
	err = s.view(func(t tx) error {
		rec, _, err = get[nameRec](t, bucketNames, name)
		return err
	})
	return rec, err
}

// mayReplace returns an error unless the live name is free or the channel's
// own; exists says which.
func (s *Store) mayReplace(name, channel string) (exists bool, err error) {
	rec, err := s.nameRec(name)
	if err != nil {
		return false, err
	}
	if rec.Channel != "" && rec.Channel != channel {
		return false, fmt.Errorf("%s %w: it belongs to channel %s; give the releases of one of the two another name", s.abs(name), ErrForeign, rec.Channel)
	}
	st, err := s.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, explain("look at", s.abs(name), err)
	}
	if !s.made(name, st, rec) {
		return true, fmt.Errorf("%s %w: there is %s that distd did not make; move it away", s.abs(name), ErrForeign, describe(st))
	}
	return true, nil
}

// made says whether distd made what the live name is.
func (s *Store) made(name string, st fs.FileInfo, rec nameRec) bool {
	switch {
	case st.Mode()&fs.ModeSymlink != 0:
		target, err := s.root.Readlink(name)
		return err == nil && isLiveTarget(target, name)
	case !st.Mode().IsRegular():
		return false
	case rec.Copy != nil && rec.Copy.Inode == identOf(st).Inode:
		return true
	}
	for _, r := range s.Releases() {
		if r.Manifest.Name != name || r.Manifest.Kind != manifest.KindFile {
			continue
		}
		if own, err := s.root.Lstat(r.live()); err == nil && os.SameFile(st, own) {
			return true
		}
		// A restored backup has the same file under another number.
		if f := r.Manifest.Files[0]; rec.ID == r.ID && st.Size() == f.Size && sameTime(st.ModTime(), f.MTime) {
			return true
		}
	}
	return false
}

// isLiveTarget says whether a symlink's target is one that distd makes for the
// live name, so that it is known even without the state file.
func isLiveTarget(target, name string) bool {
	id, ok := strings.CutPrefix(target, releasesDir+"/")
	if !ok {
		return false
	}
	id, ok = strings.CutSuffix(id, "/"+contentDir+"/"+name)
	return ok && manifest.ValidID(id)
}

func describe(st fs.FileInfo) string {
	switch {
	case st.IsDir():
		return "a folder"
	case st.Mode()&fs.ModeSymlink != 0:
		return "a symlink"
	case st.Mode().IsRegular():
		return "a file"
	}
	return "something"
}
