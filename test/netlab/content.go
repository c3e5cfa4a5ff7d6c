package netlab

import (
	"bytes"
	"context"
	"crypto/sha1"
	"fmt"
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

// newContent writes random files of these sizes, or a single one, and makes a
// torrent of them with mktorrent. The length of a piece must suit it: a power of
// two from 32 KiB on.
func newContent(ctx context.Context, dir string, sizes []int64, pieceLength int, announce string) (*Content, error) {
	c := &Content{Dir: filepath.Join(dir, "content"), File: filepath.Join(dir, contentName+".torrent")}
	path := filepath.Join(c.Dir, contentName)
	if err := makeFiles(path, sizes); err != nil {
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
func (c *Content) Check(ctx context.Context, dir string) error {
	return sameTree(ctx, filepath.Join(c.Dir, contentName), filepath.Join(dir, contentName))
}

// intact checks the content itself against the torrent's hashes: the seeds have
// the same files, and could have written to them.
func (c *Content) intact(ctx context.Context) error {
	l := c.Torrent.Layout
	buf := make([]byte, l.PieceLength)
	for i := range l.NumPieces() {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := buf[:l.PieceSize(i)]
		if !c.read(c.Dir, l.PieceOffset(i), b) || sha1.Sum(b) != c.Torrent.PieceHash(i) {
			return fmt.Errorf("piece %d of the seeds' content is no longer what it was", i)
		}
	}
	return nil
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
