package netlab

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"distd/pkg/swarm/bitmap"
	"distd/pkg/torrentfile"
)

// contentName is the name of every content that is made here.
const contentName = "payload"

// Content is a file or tree of random bytes.
type Content struct {
	Dir     string // where it lies, under its name
	Torrent *torrentfile.Torrent
	File    string // the torrent
}

// newContent writes size random bytes as files of equal length, or as one file,
// and makes a torrent of them with mktorrent. Files and pieceLength must suit it:
// a power of two from 32 KiB on.
func newContent(ctx context.Context, dir string, size int64, files, pieceLength int, announce string) (*Content, error) {
	c := &Content{Dir: filepath.Join(dir, "content"), File: filepath.Join(dir, contentName+".torrent")}
	path := filepath.Join(c.Dir, contentName)
	if err := makeFiles(path, size, files); err != nil {
		return nil, err
	}
	exponent := 0
	for 1<<exponent < pieceLength {
		exponent++
	}
	cmd := exec.CommandContext(ctx, "mktorrent", "-l", fmt.Sprint(exponent), "-a", announce, "-o", c.File, path)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("mktorrent: %w: %s", err, out)
	}
	b, err := os.ReadFile(c.File)
	if err != nil {
		return nil, err
	}
	c.Torrent, err = torrentfile.Parse(b)
	return c, err
}

// makeFiles writes size random bytes as files of equal length below path, or as
// the file path.
func makeFiles(path string, size int64, files int) error {
	for i := range files {
		p, n := path, size
		if files > 1 {
			p, n = filepath.Join(path, fmt.Sprintf("%02d", i%100), fmt.Sprint("f", i)), size/int64(files)
		}
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return err
		}
		if err := writeRandom(p, n); err != nil {
			return err
		}
	}
	return nil
}

// sameTree says how a file or tree differs from what it should be; nil when it
// does not. What lies at b may be a symlink to it.
func sameTree(a, b string) error {
	b, err := filepath.EvalSymlinks(b)
	if err != nil {
		return err
	}
	files := func(root string) (all map[string]bool, err error) {
		all = map[string]bool{}
		err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				rel, rerr := filepath.Rel(root, p)
				all[rel], err = true, rerr
			}
			return err
		})
		return all, err
	}
	want, err := files(a)
	if err != nil {
		return err
	}
	got, err := files(b)
	if err != nil {
		return err
	}
	if !maps.Equal(got, want) {
		return fmt.Errorf("%s has %d files, and not the %d that it should", b, len(got), len(want))
	}
	for f := range want {
		if err := same(filepath.Join(a, f), filepath.Join(b, f)); err != nil {
			return err
		}
	}
	return nil
}

func writeRandom(path string, n int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, rand.Reader, n)
	return errors.Join(err, f.Close())
}

// linkTo gives a folder the same content without copying it.
func (c *Content) linkTo(dir string) error {
	for _, f := range c.Torrent.Layout.Files {
		p := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return err
		}
		if err := os.Link(filepath.Join(c.Dir, filepath.FromSlash(f.Path)), p); err != nil {
			return err
		}
	}
	return nil
}

// Check says how a folder's content differs from what it should be; nil when it
// does not.
func (c *Content) Check(dir string) error {
	var want []string
	for _, f := range c.Torrent.Layout.Files {
		want = append(want, f.Path)
		if err := same(filepath.Join(c.Dir, f.Path), filepath.Join(dir, f.Path)); err != nil {
			return err
		}
	}
	count := 0
	err := filepath.WalkDir(filepath.Join(dir, contentName), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			count++
		}
		return err
	})
	if err == nil && count != len(want) {
		err = fmt.Errorf("%s has %d files, not %d", dir, count, len(want))
	}
	return err
}

// intact checks the content itself against the torrent's hashes: the seeds have
// the same files, and could have written to them.
func (c *Content) intact() error {
	l := c.Torrent.Layout
	buf := make([]byte, l.PieceLength)
	for i := range l.NumPieces() {
		b := buf[:l.PieceSize(i)]
		if !c.read(c.Dir, l.PieceOffset(i), b) || sha1.Sum(b) != c.Torrent.PieceHash(i) {
			return fmt.Errorf("piece %d of the seeds' content is no longer what it was", i)
		}
	}
	return nil
}

// same compares two files.
func same(a, b string) error {
	fa, err := os.Open(a)
	if err != nil {
		return err
	}
	defer func() { _ = fa.Close() }()
	fb, err := os.Open(b)
	if err != nil {
		return err
	}
	defer func() { _ = fb.Close() }()
	ba, bb := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); ; {
		na, ea := io.ReadFull(fa, ba)
		nb, eb := io.ReadFull(fb, bb)
		if !bytes.Equal(ba[:na], bb[:nb]) {
			return fmt.Errorf("%s differs from what was sent, at %d or up to 1 MiB behind it", b, off)
		}
		off += int64(na)
		if ea != nil || eb != nil {
			return errors.Join(unlessEnd(ea), unlessEnd(eb))
		}
	}
}

func unlessEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// Collect adds to held the pieces whose bytes lie in a folder, finished or not.
// It does not look again for those that are in held.
func (c *Content) Collect(dir string, held *bitmap.Bitmap) {
	root := contentRoot(dir)
	if root == "" {
		return
	}
	l := c.Torrent.Layout
	want, got := make([]byte, l.PieceLength), make([]byte, l.PieceLength)
	for i := held.NextClear(0); i >= 0; i = held.NextClear(i + 1) {
		equal := func(n int64) bool {
			off := l.PieceOffset(i)
			return c.read(root, off, got[:n]) && c.read(c.Dir, off, want[:n]) && bytes.Equal(got[:n], want[:n])
		}
		// Random bytes differ early: what is not there costs one short read.
		if n := l.PieceSize(i); equal(min(n, 512)) && equal(n) {
			held.Set(i)
		}
	}
}

// contentRoot is where a client keeps the content while it downloads it.
func contentRoot(dir string) string {
	candidates, _ := filepath.Glob(filepath.Join(dir, ".distd-fetch", "*", "content"))
	for _, root := range append([]string{dir}, candidates...) {
		if _, err := os.Stat(filepath.Join(root, contentName)); err == nil {
			return root
		}
	}
	return ""
}

// read fills buf from an offset of the content and says whether it could.
func (c *Content) read(root string, off int64, buf []byte) bool {
	l := c.Torrent.Layout
	for s := range l.Segments(off, int64(len(buf))) {
		f, err := os.Open(filepath.Join(root, l.Files[s.File].Path))
		if err != nil {
			return false
		}
		_, err = f.ReadAt(buf[:s.Length], s.Offset)
		_ = f.Close()
		if err != nil {
			return false
		}
		buf = buf[s.Length:]
	}
	return true
}

// await waits until a condition holds. The condition's error, or that of ctx,
// ends the waiting.
func await(ctx context.Context, every time.Duration, what string, ok func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		done, err := ok()
		if err != nil || done {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
}
