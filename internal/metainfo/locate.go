package metainfo

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"distd/pkg/torrentfile"
)

// maxLook is how many files of a torrent are looked for when there are two
// places where it may lie.
const maxLook = 1000

// locate finds a torrent's content: path is the content itself, or the folder
// that it lies in under its name.
func locate(t *torrentfile.Torrent, path string) (string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	inside := filepath.Join(path, t.Name)
	switch {
	case !st.IsDir() && t.Tree:
		return "", fmt.Errorf("%s: %w: the torrent is of a folder, and this is none", path, ErrContent)
	case !st.IsDir():
		return path, nil
	case !t.Tree:
		_, err := os.Stat(inside)
		return inside, err
	}
	itself, below := found(t, path), found(t, inside)
	switch {
	case itself > below:
		return path, nil
	case below > itself:
		return inside, nil
	case below == 0 && itself == 0 && !isFolder(inside) && !named(path, t.Name):
		return "", fmt.Errorf("%s: %w: it neither is nor holds the folder %q, and no file of the torrent is in it", path, ErrContent, t.Name)
	case named(path, t.Name) && !isFolder(inside):
		return path, nil
	}
	return inside, nil
}

// found says how many of the torrent's files there are in a folder.
func found(t *torrentfile.Torrent, folder string) (n int) {
	for i := range min(len(t.Layout.Files), maxLook) {
		if padding(t, i) {
			continue
		}
		if st, err := os.Stat(contentPath(t, folder, i)); err == nil && st.Mode().IsRegular() {
			n++
		}
	}
	return n
}

func isFolder(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

func named(path, name string) bool {
	abs, err := filepath.Abs(path)
	return err == nil && filepath.Base(abs) == name
}

// contentPath is where a file of the torrent lies when its content is at root.
func contentPath(t *torrentfile.Torrent, root string, file int) string {
	if !t.Tree {
		return root
	}
	return root + "/" + strings.TrimPrefix(t.Layout.Files[file].Path, t.Name+"/")
}
