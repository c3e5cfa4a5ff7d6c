package pieces

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"distd/pkg/swarm/pieces/piecestest"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a tmpfs of size bytes. Where that is not allowed the test is
// skipped, but not in CI.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("mounting a small tmpfs, which needs root: %v", err)
		}
		t.Skipf("mounting a small tmpfs needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func grow(t *testing.T, dir string, size int) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatal(err)
	}
}

// TestFullDisk fills a disk, makes room, and goes on: nothing is lost and
// nothing wrong is kept.
func TestFullDisk(t *testing.T) {
	small := make([]int64, 40)
	for i := range small {
		small[i] = 100 << 10
	}
	for name, r := range map[string]*piecestest.Release{
		"one file":    piecestest.NewRelease(64<<10, 6<<20),
		"small files": piecestest.NewRelease(64<<10, small...),
	} {
		t.Run(name, func(t *testing.T) {
			dir := smallDisk(t, 2<<20)
			p := place{filepath.Join(dir, "content"), filepath.Join(dir, "progress")}
			s := recovered(t, p.config(r))
			full := 0
			for i := range r.Layout.NumPieces() {
				err := s.WritePiece(i, r.Piece(i))
				switch {
				case errors.Is(err, ErrNoSpace) && errors.Is(err, syscall.ENOSPC):
					full++
					if s.Has(i) {
						t.Fatalf("piece %d is there after %v", i, err)
					}
				case err != nil:
					t.Fatal(err)
				}
			}
			if full == 0 {
				t.Fatal("the disk was never full")
			}
			kept := s.Have()
			for i := range kept.Ones() {
				piecestest.CheckPiece(t, s, r, i)
			}
			// The record too wants room.
			if err := s.Sync(t.Context()); err != nil && !errors.Is(err, ErrNoSpace) {
				t.Fatal(err)
			}
			grow(t, dir, 16<<20)
			for i := range r.Layout.NumPieces() {
				write(t, s, r, i)
			}
			mustSync(t, s)
			c, hashed := counting(p.config(r))
			again := recovered(t, c)
			if !again.Have().All() || hashed.Load() != 0 {
				t.Fatalf("have %d of %d, hashed %d", again.Have().Count(), again.Have().Len(), hashed.Load())
			}
			for i := range r.Layout.NumPieces() {
				piecestest.CheckPiece(t, again, r, i)
			}
		})
	}
}

// TestFullDiskTakesNothing checks that a file that does not fit leaves the
// space that is there to others.
func TestFullDiskTakesNothing(t *testing.T) {
	r := piecestest.NewRelease(64<<10, 6<<20)
	dir := smallDisk(t, 4<<20)
	p := place{filepath.Join(dir, "content"), filepath.Join(dir, "progress")}
	s := recovered(t, p.config(r))
	err := s.WritePiece(0, r.Piece(0))
	if !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "free") {
		t.Fatal(err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	if used := int64(st.Blocks-st.Bavail) * st.Bsize; used > 64<<10 {
		t.Errorf("%d bytes are taken by a file that does not fit", used)
	}
}

func TestRecoverOnFullDisk(t *testing.T) {
	r := piecestest.NewRelease(64<<10, 0, 100)
	dir := smallDisk(t, 64<<10)
	p := place{filepath.Join(dir, "content"), filepath.Join(dir, "progress")}
	s := mustOpen(t, p.config(r))
	for i := 0; ; i++ { // take all inodes and blocks
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), make([]byte, 4096), 0o600); err != nil {
			break
		}
	}
	if err := s.Recover(t.Context(), nil); err == nil {
		err = s.WritePiece(0, r.Piece(0))
		if !errors.Is(err, ErrNoSpace) {
			t.Fatalf("WritePiece: %v", err)
		}
	} else if !errors.Is(err, ErrNoSpace) {
		t.Fatalf("Recover: %v", err)
	}
	for i := range 4 {
		_ = os.Remove(filepath.Join(dir, fmt.Sprint(i)))
	}
	if err := s.Recover(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	write(t, s, r, 0)
}

func TestExplain(t *testing.T) {
	if explain(nil) != nil {
		t.Error("an error out of nothing")
	}
	for _, c := range []struct {
		err  error
		full bool
		says string
	}{
		{&os.PathError{Op: "write", Path: "/x/y", Err: syscall.ENOSPC}, true, "free some"},
		{&os.PathError{Op: "write", Path: "/x/y", Err: syscall.EDQUOT}, true, "quota"},
		{&os.PathError{Op: "write", Path: "/x/y", Err: syscall.EROFS}, false, "remount"},
		{&os.PathError{Op: "write", Path: "/x/y", Err: syscall.EACCES}, false, "owner"},
		{&os.PathError{Op: "write", Path: "/x/y", Err: syscall.EMFILE}, false, "LimitNOFILE"},
		{&os.PathError{Op: "write", Path: "/x/y", Err: syscall.EIO}, false, "/x/y"},
	} {
		got := explain(c.err)
		if errors.Is(got, ErrNoSpace) != c.full || !strings.Contains(got.Error(), c.says) || !strings.Contains(got.Error(), "/x/y") {
			t.Errorf("%v became %v", c.err, got)
		}
		var pe *fs.PathError
		if !errors.As(got, &pe) {
			t.Errorf("%v is not the error it was", got)
		}
		if again := explain(got); c.full && again.Error() != got.Error() {
			t.Errorf("explained twice: %v", again)
		}
	}
}
