package metainfo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// Output says where the torrent of the file or folder at path goes: beside it,
// as PATH.torrent, or to target, which may be a folder.
func Output(path, target string) (string, error) {
	beside := strings.TrimRight(path, "/")
	if base := filepath.Base(beside); beside == "" || base == "." || base == ".." {
		// These have their name from elsewhere, and so does the torrent.
		abs, err := filepath.Abs(path)
		if err != nil {
			return "", err
		}
		beside = abs
	}
	if target == "" {
		return beside + ".torrent", nil
	}
	if st, err := os.Stat(target); err == nil && st.IsDir() {
		return filepath.Join(target, filepath.Base(beside)+".torrent"), nil
	}
	return target, nil
}

// CheckOutput says what would keep Write from writing to a path, before the
// hashing takes its time. A torrent never takes the place of its own source.
func CheckOutput(path, source string) error {
	if out, err := os.Stat(path); err == nil {
		in, err := os.Stat(source)
		switch {
		case err == nil && os.SameFile(in, out):
			return fmt.Errorf("%s: %w: the torrent would take the place of what it is made of", path, ErrOptions)
		case out.IsDir():
			return fmt.Errorf("%s: %w: there is a folder in the torrent's place", path, ErrOptions)
		}
	}
	st, err := os.Stat(filepath.Dir(path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("write %s: %w; make it, or choose another with -o: %w", path, ErrOutput, err)
	case err != nil:
		return err
	case !st.IsDir():
		return &fs.PathError{Op: "create", Path: path, Err: errors.New("what it would lie in is no folder")}
	}
	return nil
}

// Write writes a torrent in one step: nobody sees half of it, and what was
// there under its name is there until then. Pipes and devices are written to.
func Write(path string, b []byte) error {
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return os.WriteFile(path, b, 0)
	}
	// A symlink stays, and leads to the new torrent.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if err := renameio.WriteFile(path, b, 0o644); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
