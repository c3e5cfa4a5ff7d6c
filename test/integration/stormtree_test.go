package integration

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// stormMarker is the file that says which version of the tree this is.
const stormMarker = "VERSION"

// stormTree is a folder that changes at random, a step at a time. No two steps
// leave the same tree.
type stormTree struct {
	rnd   *mrand.Rand
	dir   string
	step  int
	named int // names handed out
}

// newStormTree makes the folder with so many files.
func newStormTree(rnd *mrand.Rand, dir string, files int) (*stormTree, error) {
	s := &stormTree{rnd: rnd, dir: dir}
	err := os.MkdirAll(dir, 0o755)
	for i := range files {
		if i%10 == 0 {
			err = errors.Join(err, os.Mkdir(s.fresh(), 0o755))
		}
		err = errors.Join(err, s.add())
	}
	return s, errors.Join(err, s.change())
}

// change makes one step.
func (s *stormTree) change() error {
	s.step++
	err := os.WriteFile(filepath.Join(s.dir, stormMarker), []byte(strconv.Itoa(s.step)), 0o644)
	for _, c := range []struct {
		most int
		do   func() error
	}{
		{8, s.add}, {8, s.rewrite}, {4, s.insert}, {5, s.remove}, {3, s.move}, {3, s.mode}, {3, s.touch}, {3, s.link}, {2, s.emptyDir}, {2, s.otherKind},
	} {
		for range s.rnd.IntN(c.most + 1) {
			err = errors.Join(err, c.do())
		}
	}
	return errors.Join(err, s.keepInside())
}

// keepInside removes symlinks that lead out of the tree since they were moved: it
// would not be published.
func (s *stormTree) keepInside() error {
	return filepath.WalkDir(s.dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.Type()&fs.ModeSymlink == 0 {
			return err
		}
		target, err := os.Readlink(p)
		if err == nil && !strings.HasPrefix(filepath.Join(filepath.Dir(p), target), s.dir+"/") {
			err = os.Remove(p)
		}
		return err
	})
}

// pick returns a path of the tree, but the root and the marker, that a function
// likes; "" if there is none.
func (s *stormTree) pick(like func(path string, e fs.DirEntry) bool) string {
	var all []string
	_ = filepath.WalkDir(s.dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && p != s.dir && e.Name() != stormMarker && like(p, e) {
			all = append(all, p)
		}
		return err
	})
	if len(all) == 0 {
		return ""
	}
	return all[s.rnd.IntN(len(all))]
}

func (s *stormTree) file() string {
	return s.pick(func(_ string, e fs.DirEntry) bool { return e.Type().IsRegular() })
}

// fresh is a path that is not there, in the root or a folder.
func (s *stormTree) fresh() string {
	dir := s.pick(func(p string, e fs.DirEntry) bool { return e.IsDir() && strings.Count(p[len(s.dir):], "/") < 5 })
	if dir == "" || s.rnd.IntN(8) == 0 {
		dir = s.dir
	}
	s.named++
	return filepath.Join(dir, fmt.Sprint("n", s.named))
}

func (s *stormTree) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(s.rnd.Uint32())
	}
	return b
}

func (s *stormTree) add() error {
	size := s.rnd.IntN(8_000)
	switch s.rnd.IntN(12) {
	case 0:
		size = 0
	case 1:
		size = 60_000 + s.rnd.IntN(60_000)
	}
	return os.WriteFile(s.fresh(), s.bytes(size), 0o644)
}

// rewrite gives a file other bytes and leaves its size, now and then its time too.
func (s *stormTree) rewrite() error {
	p := s.file()
	st, err := os.Stat(p)
	if err != nil {
		return err
	}
	if err := os.WriteFile(p, s.bytes(int(st.Size())), 0); err != nil || s.rnd.IntN(2) == 0 {
		return err
	}
	return os.Chtimes(p, st.ModTime(), st.ModTime())
}

func (s *stormTree) insert() error {
	p := s.file()
	b, err := os.ReadFile(p)
	if err != nil {
		return err
	}
	at := s.rnd.IntN(len(b) + 1)
	return os.WriteFile(p, slices.Concat(b[:at], s.bytes(1+s.rnd.IntN(500)), b[at:]), 0)
}

func (s *stormTree) remove() error { return os.Remove(s.file()) }

func (s *stormTree) move() error {
	from, to := s.pick(func(string, fs.DirEntry) bool { return true }), s.fresh()
	if strings.HasPrefix(to, from+"/") {
		return nil
	}
	return os.Rename(from, to)
}

func (s *stormTree) mode() error {
	if s.rnd.IntN(3) == 0 {
		if d := s.pick(func(_ string, e fs.DirEntry) bool { return e.IsDir() }); d != "" {
			return os.Chmod(d, []fs.FileMode{0o755, 0o700, 0o750}[s.rnd.IntN(3)])
		}
	}
	return os.Chmod(s.file(), []fs.FileMode{0o644, 0o600, 0o755, 0o640, 0o444}[s.rnd.IntN(5)])
}

func (s *stormTree) touch() error {
	at := time.Unix(1_500_000_000+s.rnd.Int64N(1e8), 0)
	return os.Chtimes(s.file(), at, at)
}

// link makes a symlink, or lets one point elsewhere.
func (s *stormTree) link() error {
	at := s.pick(func(_ string, e fs.DirEntry) bool { return e.Type()&fs.ModeSymlink != 0 })
	if at == "" || s.rnd.IntN(2) == 0 {
		at = s.fresh()
	} else if err := os.Remove(at); err != nil {
		return err
	}
	target, err := filepath.Rel(filepath.Dir(at), s.file())
	return errors.Join(err, os.Symlink(target, at))
}

func (s *stormTree) emptyDir() error {
	if s.rnd.IntN(2) == 0 {
		empty := s.pick(func(p string, e fs.DirEntry) bool {
			inside, err := os.ReadDir(p)
			return e.IsDir() && err == nil && len(inside) == 0
		})
		if empty != "" {
			return os.Remove(empty)
		}
	}
	return os.Mkdir(s.fresh(), 0o755)
}

// otherKind puts a folder in the place of a file or the other way round.
func (s *stormTree) otherKind() error {
	if dir := s.pick(func(_ string, e fs.DirEntry) bool { return e.IsDir() }); dir != "" && s.rnd.IntN(3) == 0 {
		inside, err := os.ReadDir(dir)
		if err != nil || len(inside) > 3 { // the tree shall not vanish
			return err
		}
		return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, s.bytes(100), 0o644))
	}
	p := s.file()
	return errors.Join(os.Remove(p), os.Mkdir(p, 0o755), os.WriteFile(filepath.Join(p, "inside"), s.bytes(100), 0o640))
}

// snapshot describes a tree: for each path its type, mode, time and content.
type snapshot map[string]string

func (s snapshot) version() string { return s["\x00version"] }

// snap reads a tree through an open root, so that it is one tree also when its
// name leads elsewhere meanwhile.
func snap(dir string) (snapshot, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	out := snapshot{}
	err = fs.WalkDir(root.FS(), ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := root.Lstat(p)
		if err != nil {
			return err
		}
		var content string
		mode := fmt.Sprintf("%o", st.Mode().Perm())
		switch {
		case e.Type().IsRegular():
			b, err := root.ReadFile(p)
			if err != nil {
				return err
			}
			content = fmt.Sprintf("%d bytes %x", len(b), sha256.Sum256(b))
			if p == stormMarker {
				out["\x00version"] = string(bytes.TrimSpace(b))
			}
		case e.Type()&fs.ModeSymlink != 0:
			mode = ""
			if content, err = root.Readlink(p); err != nil {
				return err
			}
		}
		out[p] = fmt.Sprintf("%s %s %d %s", e.Type(), mode, st.ModTime().Unix(), content)
		return nil
	})
	return out, err
}

// differs lists a few of the differences of two trees; "" if there are none.
func (s snapshot) differs(want snapshot) string {
	if maps.Equal(s, want) {
		return ""
	}
	var out []string
	for p := range want {
		if s[p] != want[p] {
			out = append(out, fmt.Sprintf("%q is %q, not %q", p, s[p], want[p]))
		}
	}
	for p := range s {
		if _, ok := want[p]; !ok {
			out = append(out, fmt.Sprintf("%q is there (%s)", p, s[p]))
		}
	}
	slices.Sort(out)
	return fmt.Sprintf("%d differences: %s", len(out), strings.Join(out[:min(len(out), 5)], "; "))
}
