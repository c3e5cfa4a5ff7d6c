package bttrack

import (
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"distd/pkg/torrentfile"
)

// served is a torrent that may be announced.
type served struct {
	name string
	size int64  // bytes of content; -1 when unknown
	path string // of the torrent file; "" when it comes from a list
}

type infoHash = [20]byte

// stamp tells whether a file has changed.
type stamp struct {
	mtime time.Time
	size  int64
}

func stampOf(i fs.FileInfo) stamp { return stamp{i.ModTime(), i.Size()} }

// folder is what was found in allowed_dir.
type folder struct {
	dir   string
	files map[string]folderFile
}

type folderFile struct {
	stamp  stamp
	hash   infoHash
	ok     bool // it is a torrent, or was one before it changed
	served served
}

// look reads what is new or has changed in the folder and below it, and returns
// the torrents that may be announced. report is told of each file that is not
// one, once. A file that stops to be a torrent while it is there counts as
// before: it may be in the middle of being written.
func (f *folder) look(report func(path string, err error)) (map[infoHash]served, error) {
	found := map[string]folderFile{}
	err := filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && path == f.dir:
			return err
		case err != nil:
			report(path, err)
			return nil
		case d.IsDir() || !strings.HasSuffix(d.Name(), ".torrent"):
			return nil
		}
		old, known := f.files[path]
		info, err := os.Stat(path) // of what a link leads to
		if err == nil && known && old.stamp == stampOf(info) {
			found[path] = old
			return nil
		}
		if err == nil {
			old.stamp = stampOf(info)
			err = old.read(path, info)
		}
		if err != nil {
			report(path, err)
		}
		found[path] = old
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look through %s: %w", f.dir, err)
	}
	f.files = found
	return f.torrents(report), nil
}

// read reads a torrent file that is new or has changed.
func (f *folderFile) read(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	data, err := readFile(path, torrentfile.MaxSize)
	if err != nil {
		return err
	}
	t, err := torrentfile.Parse(data)
	if err != nil {
		return err
	}
	f.hash, f.ok = t.InfoHash, true
	f.served = served{name: t.Name, size: t.Layout.Total, path: path}
	return nil
}

// torrents are those of all files. Of two files for the same one the first
// counts.
func (f *folder) torrents(report func(string, error)) map[infoHash]served {
	all := map[infoHash]served{}
	for _, path := range slices.Sorted(maps.Keys(f.files)) {
		file := f.files[path]
		switch first, twice := all[file.hash]; {
		case !file.ok:
		case twice:
			report(path, fmt.Errorf("same torrent as %s", first.path))
		default:
			all[file.hash] = file.served
		}
	}
	return all
}

// maxList bounds a list of infohashes or addresses, in bytes.
const maxList = 64 << 20

// readList reads the infohashes of allowed_list. A line that is none is an
// error, of which the first few are told.
func readList(path string) (map[infoHash]served, []error, error) {
	data, err := readFile(path, maxList)
	if err != nil {
		return nil, nil, err
	}
	all := map[infoHash]served{}
	var bad []error
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		var ih infoHash
		if len(line) != 2*len(ih) {
			line = "" // decodes to nothing
		}
		if k, err := hex.Decode(ih[:], []byte(line)); err != nil || k != len(ih) {
			if len(bad) < 5 {
				bad = append(bad, fmt.Errorf("line %d is not an infohash of 40 hex digits", n))
			}
			continue
		}
		all[ih] = served{size: -1}
	}
	return all, bad, nil
}

// readFile reads a file of most bytes at most.
func readFile(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, most)
	}
	return data, nil
}
