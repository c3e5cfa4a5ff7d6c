package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"distd/internal/manifest"
)

// ReuseMethod says how a file of an earlier release becomes one of a new one.
type ReuseMethod string

// The methods. Each gives way to the next where it cannot be: a link also
// where mode, time or owner of the two files differ, since a link has those of
// the other, and where another file of the new release is that inode already.
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
	// Durable are those of Files that are on the disk for good, as they are files
	// of complete releases. That their names are durable is for Commit.
	Durable []int
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
	err = u.run(ctx)
	u.count()
	if err != nil {
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
	err = u.from(ctx, old, false)
	u.count()
	if err != nil {
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

	files  []wanted
	first  map[[sha256.Size]byte]int32 // by SHA-256: index into files
	own    *os.Root                    // .distd: nothing outside of it is ever linked
	whole  func(file int) bool         // of an unfinished release, whose files are moved; nil for complete ones
	linked []uint64                    // as in Store
	all    bool                        // empty files too, and none but by a link

	mu    sync.Mutex
	taken map[uint64]bool // inodes that files of the new release are
}

type wanted struct {
	*manifest.File
	index int   // in the layout
	place int   // in the manifest
	next  int32 // of the chain, -1 at its end
	done  bool
	from  []*manifest.File // what the release at hand has of it
}

// hands are the folders that one goroutine has open.
type hands struct{ src, dst, tmp *folder }

func (u *reuser) hands(from *Release) *hands {
	return &hands{src: &folder{root: u.own, base: from.below()}, dst: &folder{root: u.own, base: u.to.below()}, tmp: &folder{root: u.own}}
}

func (h *hands) close() {
	h.src.close()
	h.dst.close()
	h.tmp.close()
}

func (u *reuser) list(want func(int) bool) int {
	u.first = map[[sha256.Size]byte]int32{}
	for index, i := range u.to.Manifest.Regular() {
		f := &u.to.Manifest.Files[i]
		if f.Size == 0 && !u.all || !want(index) {
			continue
		}
		sum := sumOf(f)
		next, ok := u.first[sum]
		if !ok {
			next = -1
		}
		u.first[sum] = int32(len(u.files))
		u.files = append(u.files, wanted{File: f, index: index, place: i, next: next})
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
	return nil
}

func (u *reuser) run(ctx context.Context) error {
	if u.linked = u.s.linkedIn(u.to.ID); u.linked == nil {
		u.linked = make([]uint64, len(u.to.Manifest.Files))
	}
	taken, err := u.takeSpare(ctx)
	if err != nil {
		return err
	}
	for i := range u.files {
		w := &u.files[i]
		if w.done = taken && u.linked[w.place] != 0; !w.done {
			u.linked[w.place] = 0 // it is looked at anew
		}
	}
	u.taken = map[uint64]bool{}
	for _, ino := range u.linked {
		if ino != 0 {
			u.taken[ino] = true
		}
	}
	if err := u.open(); err != nil {
		return err
	}
	defer u.s.noteLinked(u.to.ID, u.linked)
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
	list := u.offered(r, exact)
	return inChunks(ctx, u.s.workers, len(list), func(ctx context.Context, from, to int) error {
		h := u.hands(r)
		defer h.close()
		for _, w := range list[from:to] {
			if err := u.takeOne(ctx, h, r, w); err != nil {
				return err
			}
		}
		return nil
	})
}

// offered lists the files that are still wanted and that a release has, with
// what it has.
func (u *reuser) offered(r *Release, exact bool) (list []*wanted) {
	for index, i := range r.Manifest.Regular() {
		f := &r.Manifest.Files[i]
		if f.Size == 0 && !u.all || u.whole != nil && !u.whole(index) {
			continue
		}
		at, ok := u.first[sumOf(f)]
		for ; ok && at >= 0; at = u.files[at].next {
			w := &u.files[at]
			if w.done || w.Size != f.Size || w.like(f) != exact && u.whole == nil {
				continue
			}
			if len(w.from) == 0 {
				list = append(list, w)
			}
			w.from = append(w.from, f)
		}
	}
	return list
}

// like says whether another file has the mode and time that are wanted.
func (w *wanted) like(f *manifest.File) bool { return w.Mode == f.Mode && w.MTime == f.MTime }

// takeOne takes a file from the first of those that the release has of it and that
// does. That of the same path comes first: where a release has several files with
// one content, each of them stays what it is.
func (u *reuser) takeOne(ctx context.Context, h *hands, r *Release, w *wanted) error {
	defer func() { w.from = w.from[:0] }()
	other := func(f *manifest.File) int {
		if f.Path == w.Path {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(w.from, func(a, b *manifest.File) int { return cmp.Compare(other(a), other(b)) })
	for _, how := range []ReuseMethod{u.how, ReuseReflink} {
		taken := false
		for _, f := range w.from {
			if err := ctx.Err(); err != nil {
				return err
			}
			err := u.take(h, r.Manifest.ContentPath(f.Path), f, w, how)
			switch {
			case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
				return explain("copy to", u.s.abs(u.to.path+"/"+contentDir+"/"+u.to.Manifest.ContentPath(w.Path)), err)
			case errors.Is(err, errTaken):
				taken = true
			case err != nil:
				u.s.log.Debug("a file of an earlier release is not used", zap.String("release", r.ID), zap.String("path", f.Path), zap.Error(err))
			default:
				w.done = true
				return nil
			}
		}
		if !taken {
			break
		}
	}
	return nil
}

// count sums up what was taken.
func (u *reuser) count() {
	for i := range u.files {
		w := &u.files[i]
		if !w.done {
			continue
		}
		u.Files, u.Bytes = append(u.Files, w.index), u.Bytes+w.Size
		switch {
		case u.whole != nil:
		case u.linked[w.place] != 0:
			u.Linked, u.Durable = u.Linked+1, append(u.Durable, w.index)
		default:
			u.Copied++
		}
	}
}

func (u *reuser) close() {
	if u.own == nil {
		return
	}
	_ = u.own.Close()
}

// below is the release's content root below .distd.
func (r *Release) below() string { return r.path[len(ownDir)+1:] + "/" + contentDir }
