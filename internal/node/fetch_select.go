package node

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"distd/internal/layout"
	"distd/pkg/metalink"
	"distd/pkg/torrentfile"
)

// selection is which files of a torrent are wanted. Pieces that they share with
// other files have to be whole to be checked and passed on: the rest of them lies
// beside, below the folder of the unfinished download, under the same names.
type selection struct {
	of     *layout.Layout
	files  []bool
	pieces []bool
	// bytes are those of the wanted pieces, and count and first are of the files.
	bytes int64
	count int
	first string
}

// newSelection returns nil when all files are wanted.
func newSelection(of *layout.Layout, only torrentfile.Ranges) (*selection, error) {
	s := &selection{of: of, files: make([]bool, len(of.Files)), pieces: make([]bool, of.NumPieces())}
	for i, f := range of.Files {
		if !only.Has(i) {
			continue
		}
		if s.files[i] = true; s.count == 0 {
			s.first = f.Path
		}
		s.count++
		from, to := of.FilePieces(i)
		for p := from; p < to; p++ {
			if !s.pieces[p] {
				s.pieces[p] = true
				s.bytes += of.PieceSize(p)
			}
		}
	}
	switch s.count {
	case 0:
		return nil, &codedError{ExUsage, fmt.Errorf("nothing is selected: its files are counted from 1 to %d", len(of.Files))}
	case len(of.Files):
		return nil, nil
	}
	return s, nil
}

// choose keeps to the files that are wanted, by the operator or else by the
// magnet link.
func (d *download) choose() (err error) {
	t := d.target
	if t.torrent == nil {
		return nil
	}
	only := d.fetch.o.Select
	if len(only) == 0 || t.within {
		only = t.only
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	t.selected, err = newSelection(t.layout, only)
	return err
}

// selectFiles are the files of a metalink that the operator wants. In one with a
// single file, the selection is among those of its torrent.
func (w *web) selectFiles(doc *metalink.Document) ([]metalink.File, error) {
	if len(doc.Files) == 1 || len(w.o.Select) == 0 {
		return doc.Files, nil
	}
	var out []metalink.File
	for i, f := range doc.Files {
		if w.o.Select.Has(i) {
			out = append(out, f)
		}
	}
	if len(out) == 0 {
		return nil, &codedError{ExUsage, fmt.Errorf("nothing is selected: its files are counted from 1 to %d", len(doc.Files))}
	}
	return out, nil
}

// onlyFile notes that the target stands for one selected file of a metalink, whose
// torrent may have others too.
func (t *target) onlyFile(f *metalink.File) {
	t.within = true
	if t.torrent == nil || !t.torrent.Tree {
		return
	}
	name := f.Name
	for _, u := range f.Torrents {
		name = cmp.Or(u.Name, name)
	}
	for i, of := range t.layout.Files {
		if of.Path == name || of.Path == t.name+"/"+name {
			t.only = torrentfile.Ranges{{First: i, Last: i}}
		}
	}
}

// wanted says of a piece whether it is, for the engine; nil for all.
func (t *target) wanted() func(int) bool {
	if t.selected == nil {
		return nil
	}
	return func(p int) bool { return t.selected.pieces[p] }
}

// bytes is how much is fetched in all.
func (t *target) bytes() int64 {
	switch {
	case t.layout == nil:
		return 0
	case t.selected != nil:
		return t.selected.bytes
	}
	return t.layout.Total
}

// unwanted is how many bytes are left where they are.
func (t *target) unwanted() int64 { return t.layout.Total - t.bytes() }

// besideFolder is where the rest of shared pieces lies, below a store's folder.
const besideFolder = ".beside"

// onDisk is the layout with the files that are not wanted below another folder.
func (t *target) onDisk(beside string) (*layout.Layout, error) {
	s := t.selected
	if s == nil {
		return t.layout, nil
	}
	files := make([]layout.File, len(s.files))
	for i, f := range s.of.Files {
		if files[i] = f; !s.files[i] {
			files[i].Path = path.Join(beside, f.Path)
		}
	}
	return layout.New(s.of.PieceLength, files)
}

// has says whether all that is wanted is there.
func (t *target) has(have func(int) bool) bool {
	for p := range t.layout.NumPieces() {
		if (t.selected == nil || t.selected.pieces[p]) && !have(p) {
			return false
		}
	}
	return true
}

// beside is where the rest of shared pieces lies, below the folder of the
// downloads.
func (d *download) beside() string {
	return path.Join(stagingFolder, d.target.key, "content", besideFolder)
}

// place moves the wanted files to their final names, each in one rename.
func (d *download) place() error {
	staged := filepath.Join(d.staging(), "content")
	s := d.target.selected
	if s == nil {
		if err := replace(filepath.Join(staged, d.target.name), d.finalPath(), d.aside()); err != nil {
			return err
		}
		return d.keepOthers()
	}
	for i, f := range s.of.Files {
		if !s.files[i] {
			continue
		}
		name := filepath.FromSlash(f.Path)
		if err := replace(filepath.Join(staged, name), filepath.Join(d.fetch.o.Dir, name), d.aside()); err != nil {
			return err
		}
	}
	return nil
}

// clean takes the staging folder away, but for the rest of shared pieces, and the
// folder above when it is empty.
func (d *download) clean() error {
	if d.target.selected != nil {
		content := filepath.Join(d.staging(), "content")
		err := errors.Join(os.RemoveAll(d.aside()), os.RemoveAll(filepath.Join(d.staging(), "progress")),
			os.RemoveAll(filepath.Join(content, d.target.name)))
		for _, dir := range []string{content, d.staging(), filepath.Dir(d.staging())} {
			_ = os.Remove(dir) // when nothing lies beside
		}
		return err
	}
	if err := os.RemoveAll(d.staging()); err != nil {
		return err
	}
	// Other downloads may still be there; then it stays.
	_ = os.Remove(filepath.Dir(d.staging()))
	return nil
}
