package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"distd/internal/manifest"
)

// ReuseMethod says how a file of an earlier release becomes one of a new one.
type ReuseMethod string

// The methods. Each gives way to the next where it cannot be: a link also
// where mode or time of the two files differ, since a link has those of the
// other.
const (
	ReuseLink    ReuseMethod = "link"
	ReuseReflink ReuseMethod = "reflink"
	ReuseCopy    ReuseMethod = "copy"
)

// Reused says what Reuse has found.
type Reused struct {
	Files          []int // indexes in the manifest's Layout
	Bytes          int64
	Linked, Copied int // files; reflinks count as copies
}

// Reuse puts into a staged release those of its files that complete releases of
// this store have, by SHA-256, and that want asks for by their indexes in the
// manifest's Layout. Nothing is hashed: a file is trusted when its size and time
// are those with which it was verified. What is in the way stays, unless it is
// that very file already. Files are looked for in releases of the same channel
// first, the newest first. The time it takes grows with the number of files.
//
// What cannot be had for whatever reason is left out. An error is a full disk,
// or the end of ctx; what is returned beside it counts.
func (s *Store) Reuse(ctx context.Context, id string, how ReuseMethod, want func(file int) bool) (*Reused, error) {
	defer s.ids.lock(id)()
	r, err := s.Release(id)
	if err != nil {
		return &Reused{}, fmt.Errorf("reuse files: %w", err)
	}
	if r.Complete {
		return &Reused{}, nil
	}
	u := &reuser{s: s, to: r, how: how}
	defer u.close()
	if u.list(want) == 0 {
		return &u.Reused, nil
	}
	if err := u.run(ctx); err != nil {
		return &u.Reused, fmt.Errorf("reuse files for release %s of channel %s: %w", id, r.Manifest.Channel, err)
	}
	return &u.Reused, nil
}

// TakeOver moves files from a staged release that nobody works on any more into
// another one: those that want asks for and of which whole says, by their indexes
// in the older one's layout, that all their bytes are verified. It is Reuse in all
// else.
func (s *Store) TakeOver(ctx context.Context, id, from string, whole, want func(file int) bool) (*Reused, error) {
	defer s.ids.lock(from)()
	defer s.ids.lock(id)()
	r, err := s.Release(id)
	if err != nil {
		return &Reused{}, fmt.Errorf("take files over: %w", err)
	}
	old, err := s.Release(from)
	if err != nil || r.Complete || old.Complete {
		return &Reused{}, err
	}
	u := &reuser{s: s, to: r, whole: whole}
	defer u.close()
	if u.list(want) == 0 {
		return &u.Reused, nil
	}
	if err := u.open(); err != nil {
		return &u.Reused, err
	}
	if err := u.from(ctx, old, false); err != nil {
		return &u.Reused, fmt.Errorf("take files over from release %s: %w", from, err)
	}
	return &u.Reused, nil
}

// reuser is one run of Reuse. Wanted files with the same SHA-256 form a chain.
type reuser struct {
	s   *Store
	to  *Release
	how ReuseMethod
	Reused

	files []wanted
	first map[[sha256.Size]byte]int32 // by SHA-256: index into files
	own   *os.Root                    // .distd: nothing outside of it is ever linked
	dst   *folder
	tmp   *folder
	whole func(file int) bool // of an unfinished release, whose files are moved; nil for complete ones
}

type wanted struct {
	*manifest.File
	index int   // in the layout
	next  int32 // of the chain, -1 at its end
	done  bool
}

func (u *reuser) list(want func(int) bool) int {
	u.first = map[[sha256.Size]byte]int32{}
	index := -1
	for i := range u.to.Manifest.Files {
		f := &u.to.Manifest.Files[i]
		if f.Symlink != "" {
			continue
		}
		index++
		if f.Size == 0 || !want(index) {
			continue
		}
		sum := sumOf(f)
		next, ok := u.first[sum]
		if !ok {
			next = -1
		}
		u.first[sum] = int32(len(u.files))
		u.files = append(u.files, wanted{File: f, index: index, next: next})
	}
	return len(u.files)
}

func sumOf(f *manifest.File) (sum [sha256.Size]byte) {
	_, _ = hex.Decode(sum[:], []byte(f.SHA256)) // the manifest was checked
	return sum
}

// sources are the complete releases, those of the same channel first and new
// ones before old ones.
func (u *reuser) sources() []*Release {
	all := slices.DeleteFunc(u.s.Releases(), func(r *Release) bool { return !r.Complete || r.ID == u.to.ID })
	slices.SortStableFunc(all, func(a, b *Release) int {
		other := func(r *Release) int {
			if r.Manifest.Channel == u.to.Manifest.Channel {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(other(a), other(b)), b.Manifest.Created.Compare(a.Manifest.Created), compareAge(b, a))
	})
	return all
}

func (u *reuser) open() (err error) {
	if u.own, err = u.s.root.OpenRoot(ownDir); err != nil {
		return explain("open folder", u.s.abs(ownDir), err)
	}
	u.dst, u.tmp = &folder{root: u.own, base: u.to.below()}, &folder{root: u.own}
	return nil
}

func (u *reuser) run(ctx context.Context) error {
	if err := u.open(); err != nil {
		return err
	}
	sources := u.sources()
	// A file that can be linked is better than one that must be copied, in
	// whichever release it is.
	for _, exact := range []bool{true, false} {
		for _, r := range sources {
			if err := u.from(ctx, r, exact); err != nil {
				return err
			}
		}
	}
	return nil
}

// from takes what one release has: files with the mode and time that are wanted,
// or the others.
func (u *reuser) from(ctx context.Context, r *Release, exact bool) error {
	src := &folder{root: u.own, base: r.below()}
	defer src.close()
	index := -1
	for i := range r.Manifest.Files {
		f := &r.Manifest.Files[i]
		if f.Symlink != "" {
			continue
		}
		if index++; f.Size == 0 || u.whole != nil && !u.whole(index) {
			continue
		}
		at, ok := u.first[sumOf(f)]
		for ; ok && at >= 0; at = u.files[at].next {
			w := &u.files[at]
			same := w.Mode == f.Mode && w.MTime == f.MTime
			if w.done || w.Size != f.Size || same != exact && u.whole == nil {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			err := u.take(src, r.Manifest.ContentPath(f.Path), f, w, same)
			switch {
			case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
				return explain("copy to", u.s.abs(u.to.path+"/"+contentDir+"/"+u.to.Manifest.ContentPath(w.Path)), err)
			case err != nil:
				u.s.log.Debug("a file of an earlier release is not used", zap.String("release", r.ID), zap.String("path", f.Path), zap.Error(err))
			default:
				w.done = true
				u.Files, u.Bytes = append(u.Files, w.index), u.Bytes+w.Size
			}
		}
	}
	return nil
}

// errChanged says that a file is not the one that was verified.
var errChanged = errors.New("it was changed")

// take makes the wanted file from one of an earlier release.
func (u *reuser) take(src *folder, from string, f *manifest.File, w *wanted, same bool) error {
	old, err := src.open(path.Dir(from), false)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	name := path.Base(from)
	if err := unix.Fstatat(int(old.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != f.Size || u.whole == nil && (st.Mtim.Sec != f.MTime || st.Mtim.Nsec != 0) {
		return errChanged
	}
	to := u.to.Manifest.ContentPath(w.Path)
	dir, err := u.dst.open(path.Dir(to), true)
	if err != nil {
		return err
	}
	if u.whole != nil {
		return u.move(old, name, dir, path.Base(to))
	}
	err = fs.ErrInvalid
	// A file whose mode keeps its owner from reading it could not be served
	// without a change of that mode.
	if u.how == ReuseLink && same && st.Mode&0o777 == w.Mode && w.Mode&0o400 != 0 && !u.s.noHardLinks {
		if err = u.link(old, name, dir, path.Base(to), &st); err == nil {
			u.Linked++
			return nil
		}
	}
	if errors.Is(err, errChanged) || errors.Is(err, unix.EEXIST) {
		return err
	}
	if err := u.copy(old, name, dir, path.Base(to), &st); err != nil {
		return err
	}
	u.Copied++
	return nil
}

// move takes a file out of an unfinished release.
func (u *reuser) move(old *os.File, from string, dir *os.File, to string) error {
	if u.s.step != nil {
		if err := u.s.step(op{kind: "move", path: u.dst.base + "/" + to, to: from}); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), to, &st, unix.AT_SYMLINK_NOFOLLOW); !errors.Is(err, unix.ENOENT) {
		return cmp.Or(err, error(unix.EEXIST))
	}
	return unix.Renameat(int(old.Fd()), from, int(dir.Fd()), to)
}

// link gives the file a second name. Who had it there before, and it is the same
// file, is content too.
func (u *reuser) link(old *os.File, from string, dir *os.File, to string, want *unix.Stat_t) error {
	o := op{kind: "make link", path: u.dst.base + "/" + to, to: from}
	if u.s.step != nil {
		if err := u.s.step(o); err != nil {
			return err
		}
	}
	err := unix.Linkat(int(old.Fd()), from, int(dir.Fd()), to, 0)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	var st unix.Stat_t
	if serr := unix.Fstatat(int(dir.Fd()), to, &st, unix.AT_SYMLINK_NOFOLLOW); serr != nil {
		return serr
	}
	if st.Ino == want.Ino && st.Dev == want.Dev && st.Size == want.Size && st.Mtim == want.Mtim {
		return nil
	}
	if err == nil {
		_ = unix.Unlinkat(int(dir.Fd()), to, 0)
		err = errChanged
	}
	return err
}

// copy makes a file of its own, which shares the old one's blocks where the
// file system can. It has another name until it is whole.
func (u *reuser) copy(old *os.File, from string, dir *os.File, to string, want *unix.Stat_t) error {
	o := op{kind: "copy", path: u.dst.base + "/" + to, to: from}
	if u.s.step != nil {
		if err := u.s.step(o); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), to, &st, unix.AT_SYMLINK_NOFOLLOW); !errors.Is(err, unix.ENOENT) {
		return cmp.Or(err, error(unix.EEXIST))
	}
	fd, err := unix.Openat(int(old.Fd()), from, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	src := os.NewFile(uintptr(fd), from)
	defer func() { _ = src.Close() }()
	work, err := u.tmp.open(path.Base(tmpDir), false)
	if err != nil {
		return err
	}
	tmp := tempName("reuse")
	dst, err := u.s.root.OpenFile(tmpDir+"/"+tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = u.fill(dst, src, want)
	if err = errors.Join(err, dst.Close()); err == nil {
		err = unix.Renameat(int(work.Fd()), tmp, int(dir.Fd()), to)
	}
	if err != nil {
		_ = u.s.root.Remove(tmpDir + "/" + tmp)
	}
	return err
}

func (u *reuser) fill(dst, src *os.File, want *unix.Stat_t) error {
	if u.how == ReuseCopy || unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) != nil {
		if _, err := dst.ReadFrom(src); err != nil {
			return err
		}
	}
	var now unix.Stat_t
	if err := unix.Fstat(int(src.Fd()), &now); err != nil {
		return err
	}
	if st, err := dst.Stat(); err != nil || st.Size() != want.Size || now.Ino != want.Ino || now.Mtim != want.Mtim || now.Size != want.Size {
		return errors.Join(errChanged, err)
	}
	return nil
}

func (u *reuser) close() {
	if u.own == nil {
		return
	}
	u.dst.close()
	u.tmp.close()
	_ = u.own.Close()
}

// below is the release's content root below .distd.
func (r *Release) below() string { return r.path[len(ownDir)+1:] + "/" + contentDir }
