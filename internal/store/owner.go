package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// Owner is whom the files, folders and symlinks of releases belong to: numbers of
// a user and a group. -1 leaves what is made to the user, or the group, of this
// process.
type Owner struct {
	UID int `json:"uid"`
	GID int `json:"gid"`
}

// NoOwner leaves both.
var NoOwner = Owner{-1, -1}

func (o Owner) String() string {
	one := func(n int) string {
		if n < 0 {
			return ""
		}
		return fmt.Sprint(n)
	}
	return one(o.UID) + ":" + one(o.GID)
}

// has says whether it has what belongs to these.
func (o Owner) has(uid, gid uint32) bool {
	return (o.UID < 0 || uint32(o.UID) == uid) && (o.GID < 0 || uint32(o.GID) == gid)
}

func (o Owner) hasFile(st fs.FileInfo) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	return !ok || o.has(sys.Uid, sys.Gid)
}

// SetOwner says whom releases belong to that are completed from now on, and whom
// Check and Mend want. It tries whether this process may work with what
// belongs to them. It is remembered, so that who opens the store next knows it.
// Nothing else may be done with the store meanwhile.
func (s *Store) SetOwner(o Owner) error {
	if o != NoOwner {
		if err := s.tryOwner(o); err != nil {
			return fmt.Errorf("store %s: files cannot be given to the owner %s, or not be handled then: %w "+
				"(wanted are CAP_CHOWN, CAP_FOWNER and CAP_DAC_OVERRIDE, or for a group alone that this user is in it)", s.dir, o, err)
		}
	}
	if o == s.fs.owner {
		return nil
	}
	err := s.update("owner of releases", func(t tx) error {
		if o == NoOwner {
			return drop(t, bucketMeta, "owner")
		}
		return put(t, bucketMeta, "owner", o)
	})
	if err != nil {
		return fmt.Errorf("store %s: %w", s.dir, err)
	}
	s.fs.owner = o
	return nil
}

// loadOwner reads whom releases belonged to last.
func (s *Store) loadOwner() error {
	return s.view(func(t tx) error {
		o, ok, err := get[Owner](t, bucketMeta, "owner")
		if ok && err == nil {
			s.fs.owner = o
		}
		return err
	})
}

// tryOwner does with a folder and a file what is done with those of a release.
func (s *Store) tryOwner(o Owner) (err error) {
	dir := tmpDir + "/" + tempName("owner")
	if err := s.root.Mkdir(dir, 0o700); err != nil {
		return err
	}
	defer func() {
		// What was given away and cannot be removed comes back first.
		rerr := s.root.RemoveAll(dir)
		if rerr != nil && s.root.Lchown(dir, os.Geteuid(), os.Getegid()) == nil {
			rerr = s.root.RemoveAll(dir)
		}
		if err == nil {
			err = rerr
		}
	}()
	file := dir + "/file"
	if err := s.root.WriteFile(file, nil, 0o600); err != nil {
		return err
	}
	for _, name := range []string{file, dir} {
		if err := s.root.Lchown(name, o.UID, o.GID); err != nil {
			return err
		}
	}
	past := time.Unix(1, 0)
	if err := errors.Join(s.root.Chmod(dir, 0o700), s.root.Chmod(file, 0o600), s.root.Chtimes(file, past, past)); err != nil {
		return err
	}
	f, err := s.root.Open(file)
	if err != nil {
		return err
	}
	return f.Close()
}

// chown gives a file, folder or symlink to the owner of releases, if there is one.
func (d *disk) chown(name string) error {
	if d.owner == NoOwner {
		return nil
	}
	return d.do(op{kind: "change owner of", path: name}, func() error { return d.root.Lchown(name, d.owner.UID, d.owner.GID) })
}
