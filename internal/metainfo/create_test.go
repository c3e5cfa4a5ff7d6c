package metainfo

import (
	"context"
	"crypto/sha1"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"distd/pkg/torrentfile"
)

// TestOldInfohashes: the infohashes are those that btmakemetafile's own code
// gives to the same files.
func TestOldInfohashes(t *testing.T) {
	dir := fixture(t)
	for _, c := range []struct {
		path   string
		length int64
		want   string
		skip   int
	}{
		{"site.tar", 0, "305e6b2fa9e4ecc8d3e5f6630d3acd54d5706c78", 0},
		{"site.tar", 1 << 18, "9a02db877c0a1533ba49fd33e2044d580d2e1d70", 0},
		{"empty.bin", 0, "3a350407cd036efebc0cd599861f2d544bd2f3f1", 0},
		{"web", 0, "b2efa808e1ba9d3247886bd25809ca8bac231925", 4},
		{"web/", 1 << 17, "0acfb95531fd14bb9cca9741e2d2d499aebd9cde", 4},
		{"alias", 0, "bed77544c9d953ed43a8e0e126cb39f1f2474ae3", 4},
	} {
		m := create(t, Options{Path: dir + "/" + c.path, PieceLength: c.length})
		if got := infohash(m); got != c.want {
			t.Errorf("%s with pieces of %d: infohash %s, want %s", c.path, c.length, got, c.want)
		}
		if m.Skipped != c.skip {
			t.Errorf("%s: %d names left out, want %d", c.path, m.Skipped, c.skip)
		}
	}
}

func TestPieceLength(t *testing.T) {
	for _, c := range []struct{ total, want int64 }{
		{0, 1 << 15}, {4 << 20, 1 << 15}, {4<<20 + 1, 1 << 16}, {16 << 20, 1 << 16}, {16<<20 + 1, 1 << 17}, {64 << 20, 1 << 17}, {64<<20 + 1, 1 << 18},
		{512 << 20, 1 << 18}, {512<<20 + 1, 1 << 19}, {2 << 30, 1 << 19}, {2<<30 + 1, 1 << 20}, {8 << 30, 1 << 20}, {8<<30 + 1, 1 << 21}, {1 << 45, 1 << 21},
	} {
		if got := PieceLength(c.total); got != c.want {
			t.Errorf("PieceLength(%d) = %d, want %d", c.total, got, c.want)
		}
	}
}

// TestOuterKeys: what stands beside the info dictionary is what the old tool
// wrote, and nothing else.
func TestOuterKeys(t *testing.T) {
	dir := fixture(t)
	m := create(t, Options{Path: dir + "/empty.bin", Announce: [][]string{{"http://x/announce"}}, Comment: "c", HTTPSeeds: []string{"http://h/1"}})
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	want := "d8:announce17:http://x/announce7:comment1:c9:httpseedsl10:http://h/1e4:infod6:lengthi0e4:name9:empty.bin12:piece lengthi32768e6:pieces0:ee"
	if string(b) != want {
		t.Errorf("it is %q, want %q", b, want)
	}
}

// TestHashesAnyLayout compares the workers' hashes with those of a simple loop
// over all bytes.
func TestHashesAnyLayout(t *testing.T) {
	dir := t.TempDir()
	var all []byte
	for i, n := range []int{3 << 20, 0, 1, 16383, 16385, 700_000, 40, 5<<20 + 3, 255, 0} {
		b := pattern(uint32(i), n)
		write(t, filepath.Join(dir, "tree", string(rune('a'+i))), b)
		all = append(all, b...)
	}
	for length := int64(torrentfile.MinPieceLength); length <= 16<<20; length *= 4 {
		var last int64
		m := create(t, Options{Path: dir + "/tree", PieceLength: length, Progress: func(done, total int64) {
			if done <= last || total != int64(len(all)) {
				t.Errorf("progress goes from %d to %d of %d", last, done, total)
			}
			last = done
		}})
		var want []byte
		for part := range slices.Chunk(all, int(length)) {
			sum := sha1.Sum(part)
			want = append(want, sum[:]...)
		}
		if !slices.Equal(m.Pieces, want) {
			t.Errorf("with pieces of %d the hashes differ", length)
		}
		if last != int64(len(all)) {
			t.Errorf("progress ends at %d of %d", last, len(all))
		}
	}
}

func TestRefusesSources(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/tilde/~x", nil)
	write(t, dir+"/back/a\\b", nil)
	write(t, dir+"/case/a", nil)
	write(t, dir+"/case/A", nil)
	write(t, dir+"/control/a\x1bb", nil)
	write(t, dir+"/.hidden", nil)
	write(t, dir+"/left/.x", nil)
	write(t, dir+"/loop/a/x", nil)
	link(t, "..", dir+"/loop/a/up")
	write(t, dir+"/dangling/x", nil)
	link(t, "nowhere", dir+"/dangling/y")
	if err := os.Mkdir(dir+"/pipe", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(dir+"/pipe/p", 0o644); err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/"+strings.Repeat("deep/", 40)+"x", nil)
	for i := range 30 {
		write(t, dir+"/many/~"+string(rune('a'+i)), nil)
	}
	for _, c := range []struct {
		path string
		is   error
		want string
	}{
		{"tilde", ErrSource, `tilde/~x": `},
		{"back", ErrSource, "backslash"},
		{"case", ErrSource, "differ only in case"},
		{"control", ErrSource, "control character"},
		{".hidden", ErrSource, `must not begin with "."`},
		{"left", ErrSource, "there is no file in it"},
		{"loop", ErrSource, "loop/a/up: "},
		{"dangling", fs.ErrNotExist, "dangling/y"},
		{"pipe", ErrSource, "neither a file nor a folder"},
		{"deep", ErrSource, "deeper than 32 levels"},
		{"many", ErrSource, "and 20 more"},
		{"missing", fs.ErrNotExist, "missing"},
	} {
		_, err := Create(t.Context(), Options{Path: dir + "/" + c.path})
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %v with %q", c.path, err, c.is, c.want)
		}
	}
}

// TestRefusesTooManyPieces: what no torrent could hold takes no memory.
func TestRefusesTooManyPieces(t *testing.T) {
	path := t.TempDir() + "/sparse"
	write(t, path, nil)
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Skip("no sparse files here")
	}
	_, err := Create(t.Context(), Options{Path: path, PieceLength: 1 << 10})
	if !errors.Is(err, ErrSource) || !strings.Contains(err.Error(), "make them longer") {
		t.Errorf("error %v, want %v", err, ErrSource)
	}
}

func TestRefusesOptions(t *testing.T) {
	path := fixture(t) + "/site.tar"
	for _, o := range []Options{
		{PieceLength: 100}, {PieceLength: 3 << 14}, {PieceLength: 512}, {PieceLength: 128 << 20},
		{Announce: [][]string{{"bt.local.dc"}}}, {FirstTracker: "x"}, {WebSeeds: []string{"udp://x"}}, {HTTPSeeds: []string{""}},
	} {
		o.Path = path
		if _, err := Create(t.Context(), o); !errors.Is(err, ErrOptions) {
			t.Errorf("%+v: error %v, want %v", o, err, ErrOptions)
		}
	}
}

// TestChangedWhileRead: a file that is written to, cut, replaced or removed
// after the scan makes no torrent, whoever reads it.
func TestChangedWhileRead(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"written": func(path string) error { return os.WriteFile(path, pattern(9, 3<<20), 0o644) },
		"cut":     func(path string) error { return os.Truncate(path, 1<<20) },
		"removed": os.Remove,
		"replaced": func(path string) error {
			return errors.Join(os.WriteFile(path+"2", pattern(1, 3<<20), 0o644), os.Rename(path+"2", path))
		},
		"by a pipe": func(path string) error { return errors.Join(os.Remove(path), unix.Mkfifo(path, 0o644)) },
	} {
		path := t.TempDir() + "/tree/f"
		write(t, path, pattern(1, 3<<20))
		src, err := openSource(t.Context(), filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		l, err := src.layout(0)
		if err != nil {
			t.Fatal(err)
		}
		if err := change(path); err != nil {
			t.Fatal(err)
		}
		err = src.hash(t.Context(), l, nil, func(int, []byte) {})
		if !errors.Is(err, ErrChanged) && !errors.Is(err, unix.ESPIPE) {
			t.Errorf("%s: error %v, want %v", name, err, ErrChanged)
		}
	}
}

// TestUnreadable: all unreadable files are named at once, before anything is
// read.
func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/tree/a", nil)
	write(t, dir+"/tree/b", nil)
	for _, f := range []string{"a", "b"} {
		if err := os.Chmod(dir+"/tree/"+f, 0); err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() == 0 {
		// Root may read everything: give that up for the thread of this test,
		// which is thrown away with the test's goroutine, locked as it is.
		runtime.LockOSThread()
		defer unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), 0, ^uintptr(0))
		if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), 65534, ^uintptr(0)); e != 0 {
			t.Skip("cannot give up root's rights")
		}
	}
	s := &scan{ctx: t.Context(), source: &source{path: "tree", abs: dir + "/tree"}}
	if err := s.folder(unix.AT_FDCWD, s.abs, "", inode{}); err != nil {
		t.Fatal(err)
	}
	if len(s.problems) != 2 || !errors.Is(s.problems[0], fs.ErrPermission) || !strings.Contains(s.problems[1].Error(), "tree/b") {
		t.Errorf("problems are %v", s.problems)
	}
}

// TestCreateStops: when the caller gives up, no goroutine goes on.
func TestCreateStops(t *testing.T) {
	path := fixture(t) + "/site.tar"
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Create(ctx, Options{Path: path, PieceLength: 16384, Progress: func(int64, int64) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}
