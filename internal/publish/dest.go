package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"distd/internal/manifest"
)

// Method is how the published bytes came to be apart from the source.
type Method string

// The methods, in the order in which they are tried.
const (
	// InPlace shares the source's files by hard links: nothing is copied, and
	// the source must not be changed afterwards. Only when asked for.
	InPlace Method = "in-place"
	// Reflink shares the source's blocks until one of the two changes.
	Reflink Method = "reflink"
	// Copy writes the bytes again.
	Copy Method = "copy"
)

// destination is the folder that the release's content is put together in.
type destination struct {
	root *os.Root // the content root
	dir  string   // its path, for messages
	src  *source
	room func(need int64) // may be nil
	need int64            // bytes of the files that come from the source
	// method changes from Reflink to Copy when the file system cannot. Only
	// the goroutine that reads the source looks at it.
	method Method

	// What follows belongs to the goroutine that makes files: the one that
	// writes copies or, when there are none, the one that reads.
	folders folders
	out     *os.File // being written
}

// makeDirs makes the folders of a tree. Their modes come later, as the store
// wants to be able to write in them.
func (d *destination) makeDirs() error {
	// They are sorted by path, so that parents come first, but for the tree's
	// own folder: "#x" is before ".".
	for _, own := range []bool{true, false} {
		for _, e := range d.src.dirs {
			if own != (e.path == ".") {
				continue
			}
			if err := d.root.Mkdir(d.name(e.path), 0o700); err != nil {
				return d.explain(err)
			}
		}
	}
	return nil
}

// name is where in the content root the source's path goes.
func (d *destination) name(rel string) string {
	if d.src.kind == manifest.KindFile {
		return d.src.name
	}
	return path.Join(d.src.name, rel)
}

// begin makes the file for e, whose open source is in, and returns what is to
// be read: the clone if there is one, else in.
func (d *destination) begin(in *os.File, e *entry) (*os.File, error) {
	if d.method == InPlace {
		return in, d.link(in, e)
	}
	if d.method == Copy {
		return in, nil
	}
	clone, err := d.create(e.path, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	if err = cloneFile(clone, in); err == nil {
		return clone, nil
	}
	if err := errors.Join(clone.Close(), d.root.Remove(d.name(e.path))); err != nil {
		return nil, d.explain(err)
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return nil, d.explain(err)
	}
	// Whatever the reason is, copying may still do: the file systems differ, or
	// this one does not share blocks.
	d.method = Copy
	return in, d.checkSpace()
}

// checkSpace refuses to begin a copy that cannot end.
func (d *destination) checkSpace() error {
	if d.room != nil {
		d.room(d.need)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(d.dir, &st); err != nil {
		return &fs.PathError{Op: "statfs", Path: d.dir, Err: err}
	}
	free := uint64(st.Bavail) * uint64(st.Bsize) //nolint:unconvert // their widths differ between platforms
	if free < uint64(d.need) {
		return fmt.Errorf("%w: what is to be copied has %s, and %s are free where %s lies: free some, keep fewer releases, or use -in-place",
			unix.ENOSPC, humanize.IBytes(uint64(d.need)), humanize.IBytes(free), d.dir)
	}
	return nil
}

// link gives the source's file a second name in the content root. The release
// then has the inode's mode and time, so what the manifest cannot say of them
// must not be there: the time is cut to whole seconds.
func (d *destination) link(in *os.File, e *entry) error {
	if m := e.stat.mode & (fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky); m != 0 {
		return fmt.Errorf("%s has set-ID or sticky bits, which a release does not have: take them away, or publish without -in-place", e.path)
	}
	ts := []unix.Timeval{{Sec: e.stat.mtime.sec}, {Sec: e.stat.mtime.sec}}
	if e.stat.mtime.nsec != 0 {
		if err := unix.Futimes(int(in.Fd()), ts); err != nil {
			return fmt.Errorf("%s: set its time to whole seconds: %w (in-place publishing needs a user who owns the files)", e.path, err)
		}
	}
	name := d.name(e.path)
	dir, err := d.root.Open(path.Dir(name))
	if err != nil {
		return d.explain(err)
	}
	defer func() { _ = dir.Close() }()
	// By its descriptor, so that it is the file that is being read.
	err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", in.Fd()), int(dir.Fd()), path.Base(name), unix.AT_SYMLINK_FOLLOW)
	switch {
	case errors.Is(err, unix.EXDEV):
		return fmt.Errorf("%s is not on the file system of %s: in-place publishing needs both on one; publish without -in-place, or move one of the two", e.path, d.dir)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s cannot be hard-linked: %w (in-place publishing needs a user who owns the files, and a file system with hard links)", e.path, err)
	case err != nil:
		return d.explain(&fs.PathError{Op: "link", Path: e.path, Err: err})
	}
	return nil
}

// write writes a segment to the copy. All segments come through it, in order.
func (d *destination) write(rel string, s *segment) error {
	if !s.copy {
		return nil
	}
	if s.off == 0 {
		f, err := d.create(rel, os.O_WRONLY)
		if err != nil {
			return err
		}
		d.out = f
	}
	if _, err := d.out.Write(s.data); err != nil {
		return d.explain(&fs.PathError{Op: "write", Path: d.name(rel), Err: cause(err)})
	}
	if !s.whole {
		// The disk may as well begin now with what must be synced in the end.
		startWriteback(d.out, s.off, int64(len(s.data)))
	}
	if !s.last {
		return nil
	}
	f := d.out
	d.out = nil
	return d.explain(f.Close())
}

// create makes a file of the copy.
func (d *destination) create(rel string, flag int) (*os.File, error) {
	name := d.name(rel)
	dir, base, err := d.folders.open(name)
	if err != nil {
		return nil, d.explain(err)
	}
	f, err := dir.OpenFile(base, flag|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, d.explain(&fs.PathError{Op: "make file", Path: name, Err: cause(err)})
	}
	return f, nil
}

// close closes everything, also what an interrupted run has left open.
func (d *destination) close() error {
	var err error
	if d.out != nil {
		err = d.out.Close()
	}
	return errors.Join(err, d.folders.close(), d.root.Close())
}

// cause takes the path off an error of the os package, where it is not the
// whole one.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// explain says of an error of the destination where it happened and what to do.
func (d *destination) explain(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) && !strings.HasPrefix(pe.Path, "/") {
		err = &fs.PathError{Op: pe.Op, Path: path.Join(d.dir, pe.Path), Err: pe.Err}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("%w (the release has %s: free space or inodes on this file system, keep fewer releases, or use -in-place)", err, humanize.IBytes(uint64(d.src.total)))
	case errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%w (the disk quota of distd's user is used up)", err)
	}
	return err
}
