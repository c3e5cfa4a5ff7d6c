package torrentfile

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"distd/internal/layout"
	"distd/internal/names"
)

// maxFolderCost bounds the memory that the check of names takes, in bytes: a
// small torrent could otherwise name many millions of folders.
const maxFolderCost = 128 << 20

// fileList collects the files of a tree.
type fileList struct {
	name    string
	files   []layout.File
	padding []bool
	set     names.Set
	pads    map[string]bool
	cost    int
	last    string
}

func (t *Torrent) parseFiles(v value) ([]layout.File, error) {
	n := 0
	err := v.list(func(value) error { n++; return nil })
	if err != nil {
		return nil, fmt.Errorf("%q: %w", "files", err)
	}
	if n > MaxFiles {
		return nil, fmt.Errorf("it has %d files, more than the limit of %d", n, MaxFiles)
	}
	l := fileList{name: t.Name, pads: map[string]bool{}, files: make([]layout.File, 0, n)}
	err = v.list(func(e value) error {
		if err := l.add(e); err != nil {
			return fmt.Errorf("file %d: %w", len(l.files), err)
		}
		return nil
	})
	t.Padding = l.padding
	return l.files, err
}

func (l *fileList) add(e value) error {
	var length, path, attr value
	err := e.dict(func(key []byte, val value) error {
		switch string(key) {
		case "length":
			length = val
		case "path", "path.utf-8": // the latter sorts behind, so it wins
			path = val
		case "attr":
			attr = val
		}
		return nil
	})
	if err != nil {
		return err
	}
	pad := false
	if attr != nil {
		a, err := attr.bytes()
		if err != nil {
			return fmt.Errorf("%q: %w", "attr", err)
		}
		pad = bytes.IndexByte(a, 'p') >= 0
		if bytes.IndexByte(a, 'l') >= 0 {
			return errors.New("it is a symlink (BEP 47), which is not supported")
		}
	}
	if length == nil {
		return errors.New("it has no length")
	}
	p, err := l.path(path, pad, length)
	if err != nil {
		return err
	}
	n, err := fileLength(length)
	if err != nil {
		return fmt.Errorf("%q: %w", p, err)
	}
	if err := l.checkName(p, pad); err != nil {
		return err
	}
	l.put(layout.File{Path: p, Length: n}, pad)
	return nil
}

// path joins the elements of a file's path to the torrent's name.
func (l *fileList) path(v value, pad bool, length value) (string, error) {
	var b strings.Builder
	b.WriteString(l.name)
	n := 0
	if v != nil {
		err := v.list(func(e value) error {
			s, err := e.bytes()
			switch {
			case err != nil:
				return err
			case bytes.IndexByte(s, '/') >= 0:
				return fmt.Errorf("name %.64q has a slash in it", s)
			case b.Len()+len(s) > names.MaxPath:
				return fmt.Errorf("path %q... is longer than %d bytes", strings.ToValidUTF8(b.String()[:min(b.Len(), 64)], "?"), names.MaxPath)
			}
			n++
			b.WriteByte('/')
			b.Write(s)
			return nil
		})
		if err != nil {
			return "", fmt.Errorf("path: %w", err)
		}
	}
	switch {
	case n > 0:
		return b.String(), nil
	case pad:
		// Padding needs no path (BEP 47); this is the one others give it.
		return l.name + "/.pad/" + string(length[1:len(length)-1]), nil
	default:
		return "", errors.New("it has no path")
	}
}

// checkName checks a path by itself and against the others. Padding files may
// share a path with each other, but not with a file.
func (l *fileList) checkName(p string, pad bool) error {
	if pad {
		if l.pads[p] {
			return nil
		}
		l.pads[p] = true
	}
	same := 0
	for same < len(p) && same < len(l.last) && p[same] == l.last[same] {
		same++
	}
	for i := same; i < len(p); i++ {
		if p[i] == '/' {
			l.cost += i + 64
		}
	}
	if l.cost > maxFolderCost {
		return errors.New("it has too many folders")
	}
	l.last = p
	return l.set.Add(p)
}

func (l *fileList) put(f layout.File, pad bool) {
	l.files = append(l.files, f)
	if pad && l.padding == nil {
		l.padding = make([]bool, len(l.files)-1, cap(l.files))
	}
	if l.padding != nil {
		l.padding = append(l.padding, pad)
	}
}
