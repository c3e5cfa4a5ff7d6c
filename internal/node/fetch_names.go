package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"go.uber.org/zap"

	"distd/internal/manifest"
)

// hardLink is a further name of a file of a release, below the content root.
type hardLink struct{ first, name string }

func hardLinks(m *manifest.Manifest) (out []hardLink) {
	for i := range m.Files {
		if f := &m.Files[i]; f.Hardlink != "" {
			out = append(out, hardLink{m.ContentPath(f.Hardlink), m.ContentPath(f.Path)})
		}
	}
	return out
}

// linkNames gives files of a release that is whole their further names, below the
// folder that it was fetched into. mine says whether what has such a name already
// may be replaced. Of selected files there are none: who selects names what he
// wants. Where the file system has no hard links the files are there all the same,
// so that is a warning.
func (d *download) linkNames(dir string, mine bool) error {
	t := d.target
	if len(t.hardLinks) == 0 || t.selected != nil {
		return nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	missing := 0
	for _, l := range t.hardLinks {
		if err := linkName(root, l, mine); err != nil {
			d.log.Debug("a further name of a file is not made", zap.String("path", l.name), zap.Error(err))
			if missing++; missing == 1 {
				d.log.Warn("further names of files cannot be made, and are left out: "+err.Error(), zap.String("first", l.name))
			}
		}
	}
	return nil
}

func linkName(root *os.Root, l hardLink, mine bool) error {
	want, err := root.Lstat(l.first)
	if err != nil {
		return err
	}
	st, err := root.Lstat(l.name)
	switch {
	case err == nil && os.SameFile(st, want):
		return nil
	case err == nil && !mine:
		return fmt.Errorf("%s is there already, and is another file; overwrite replaces it", filepath.Join(root.Name(), l.name))
	case err == nil: // of an interrupted run, or the version before
		err = root.RemoveAll(l.name)
	case errors.Is(err, fs.ErrNotExist):
		err = root.MkdirAll(path.Dir(l.name), 0o755)
	}
	if err != nil {
		return err
	}
	return root.Link(l.first, l.name)
}
