package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// sameKind is the error of a folder under the final name of a file, or the
// reverse. Whoever means it has to move it away: -allow-overwrite is of files.
func (d *download) sameKind() error {
	t, path := d.target, d.finalPath()
	info, err := os.Stat(path)
	if err != nil || d.switching != nil {
		return nil //nolint:nilerr // what is not there is not in the way
	}
	tree := len(t.layout.Files) != 1 || t.layout.Files[0].Path != t.name
	switch {
	case info.IsDir() && !tree:
		return fmt.Errorf("%w: %s is a folder, in the place of a file; move it away, or choose another folder with -d", fs.ErrExist, path)
	case !info.IsDir() && tree:
		return fmt.Errorf("%w: %s is no folder, which it should be; move it away, or choose another folder with -d", fs.ErrExist, path)
	}
	return nil
}

// inTheWay is the error of files under the final name of which no piece is good,
// so that they are not known to be an earlier version or a part of this download.
// A file of the right size whose pieces others have a part of may be good. has says
// of a piece whether it is.
func (d *download) inTheWay(has func(int) bool) error {
	t, o := d.target, d.fetch.o
	if o.Overwrite || o.Check {
		return nil
	}
	for i := range t.layout.NumPieces() {
		if has(i) {
			return nil
		}
	}
	for i, f := range t.layout.Files {
		if f.Length == 0 || t.selected != nil && !t.selected.files[i] {
			continue
		}
		path := filepath.Join(o.Dir, filepath.FromSlash(f.Path))
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		if info.Size() != f.Length {
			return wayError(path, fmt.Sprintf("it has %d bytes, not %d, and no piece is right", info.Size(), f.Length))
		}
		if t.ownPieces(i) {
			return wayError(path, "none of its pieces is right")
		}
	}
	return nil
}

// ownPieces says whether a file has pieces that no other file has a part of.
func (t *target) ownPieces(file int) bool {
	l := t.layout
	start, end := l.Offset(file), l.Offset(file)+l.Files[file].Length
	from, to := (start+l.PieceLength-1)/l.PieceLength, end/l.PieceLength
	if end == l.Total {
		to = int64(l.NumPieces())
	}
	return from < to
}

// wayError names what is in the way, and what can be done.
func wayError(path, why string) error {
	return fmt.Errorf("%w: %s is there already and is not known to be this download (%s); move it away, choose another folder with -d, or let it be replaced with -allow-overwrite", fs.ErrExist, path, why)
}

// aside is where a folder that was replaced lies until what is not of the torrent
// is out of it.
func (d *download) aside() string { return filepath.Join(d.staging(), "old") }

// keepOthers brings what lay beside the torrent's files in a folder that was
// replaced back to its place. The folders that Follow replaces are its own: what a
// version does not have is gone.
func (d *download) keepOthers() error {
	if d.switching != nil || d.target.selected != nil {
		return nil
	}
	if err := bringBack(d.aside(), d.finalPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("bring other files back from %s, which must not be deleted: %w", d.aside(), err)
	}
	return nil
}

// bringBack moves all of the folder from that the folder to does not have.
func bringBack(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		a, b := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		info, err := os.Lstat(b)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = os.Rename(a, b)
		case err == nil && info.IsDir() && e.IsDir():
			err = bringBack(a, b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
