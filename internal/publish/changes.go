package publish

import (
	"errors"
	"fmt"
	"strings"

	"distd/internal/manifest"
)

// ErrManyDeleted says that a release would delete more files than is allowed.
// Nothing is published.
var ErrManyDeleted = errors.New("more files would be deleted than max_delete allows")

// MaxDelete is how many files of the channel's newest release the next one may
// lack: a number of files, or a share of them in per cent, which holds for
// releases of more than 100 files.
type MaxDelete struct {
	Number  int
	Percent bool
}

// fewFiles is how many files a release has at most to which a share does not
// apply: of three files one may well go.
const fewFiles = 100

func (d MaxDelete) String() string {
	if d.Percent {
		return fmt.Sprintf("%d%%", d.Number)
	}
	return fmt.Sprint(d.Number)
}

// Changes says what a release changes against the one before. Folders count only
// where their mode differs.
type Changes struct {
	Channel  string `json:"channel"`
	Name     string `json:"name"`
	Previous uint64 `json:"previous"` // serial of the release before; 0: there is none
	Files    int    `json:"files"`    // files and symlinks of the new one
	Size     int64  `json:"size"`     // bytes of them

	Added   []Change `json:"added"`
	Changed []Change `json:"changed"`
	// Moved are files that are not where they were, but at a place where none
	// was; Moved and those with other modes cost no bytes.
	Moved   []Change `json:"moved"`
	Deleted []Change `json:"deleted"`
	Modes   []Change `json:"modes"`
	// Transfer is what a node that has the release before does not have: the
	// bytes of files whose SHA-256 is none of that.
	Transfer int64    `json:"transfer"`
	Warnings []string `json:"warnings"`

	before int // files and symlinks of the release before
}

// Change is one path. Folders end with a slash.
type Change struct {
	Path string `json:"path"`
	From string `json:"from,omitempty"` // where a moved file was; a mode as it was
	Size int64  `json:"size,omitempty"` // bytes
}

// Compare says what m changes against the release before, which may be nil. Both
// must have the sums of their files.
func Compare(before, m *manifest.Manifest) *Changes {
	c := &Changes{Channel: m.Channel, Name: m.Name, Files: len(m.Files), Size: m.Size,
		Added: []Change{}, Changed: []Change{}, Moved: []Change{}, Deleted: []Change{}, Modes: []Change{}, Warnings: []string{}}
	if before == nil {
		before = &manifest.Manifest{}
	}
	c.Previous, c.before = before.Serial, len(before.Files)
	had := make(map[string]bool, len(before.Files)) // by SHA-256
	for i := range before.Files {
		had[before.Files[i].SHA256] = true
	}
	gone := c.compareFiles(before, m)
	fresh := c.Added
	c.Added = []Change{}
	for _, a := range fresh {
		f := &m.Files[m.FileIndex(a.Path)]
		if from := gone[f.SHA256]; f.Size > 0 && len(from) > 0 {
			a.From, gone[f.SHA256] = from[0], from[1:]
			c.Moved = append(c.Moved, a)
		} else {
			c.Added = append(c.Added, a)
		}
	}
	c.dropMoved()
	c.compareDirs(before, m)
	for i := range m.Files {
		if f := &m.Files[i]; f.InTorrent() && !had[f.SHA256] {
			had[f.SHA256] = true
			c.Transfer += f.Size
		}
	}
	return c
}

// compareFiles fills Added, Changed, Deleted and Modes by paths alone, and
// returns the deleted paths by their SHA-256.
func (c *Changes) compareFiles(before, m *manifest.Manifest) (gone map[string][]string) {
	gone = map[string][]string{}
	wereLinked, areLinked := before.LinkedBeside(m), m.LinkedBeside(before)
	i := 0
	remove := func(f *manifest.File) {
		c.Deleted = append(c.Deleted, Change{Path: f.Path, Size: f.Size})
		if f.Size > 0 {
			gone[f.SHA256] = append(gone[f.SHA256], f.Path)
		}
	}
	for k := range m.Files {
		f := &m.Files[k]
		for ; i < len(before.Files) && before.Files[i].Path < f.Path; i++ {
			remove(&before.Files[i])
		}
		if i == len(before.Files) || before.Files[i].Path != f.Path {
			c.Added = append(c.Added, Change{Path: f.Path, Size: f.Size})
			continue
		}
		old := &before.Files[i]
		switch i++; {
		case old.SHA256 != f.SHA256 || old.Symlink != f.Symlink || wereLinked[f.Path] != areLinked[f.Path]:
			c.Changed = append(c.Changed, Change{Path: f.Path, Size: f.Size})
		case old.Mode != f.Mode:
			c.Modes = append(c.Modes, Change{Path: f.Path, From: fmt.Sprintf("%#o", old.Mode)})
		}
	}
	for ; i < len(before.Files); i++ {
		remove(&before.Files[i])
	}
	return gone
}

// dropMoved takes what was moved out of Deleted.
func (c *Changes) dropMoved() {
	moved := make(map[string]bool, len(c.Moved))
	for _, m := range c.Moved {
		moved[m.From] = true
	}
	kept := c.Deleted[:0]
	for _, d := range c.Deleted {
		if !moved[d.Path] {
			kept = append(kept, d)
		}
	}
	c.Deleted = kept
}

func (c *Changes) compareDirs(before, m *manifest.Manifest) {
	modes := make(map[string]uint32, len(before.Dirs))
	for _, d := range before.Dirs {
		modes[d.Path] = d.Mode
	}
	for _, d := range m.Dirs {
		if old, ok := modes[d.Path]; ok && old != d.Mode {
			c.Modes = append(c.Modes, Change{Path: d.Path + "/", From: fmt.Sprintf("%#o", old)})
		}
	}
}

// Allowed checks how many files go against a limit; nil is none. What was moved
// is not gone. Errors are ErrManyDeleted.
func (c *Changes) Allowed(limit *MaxDelete) error {
	n := len(c.Deleted)
	switch {
	case limit == nil:
		return nil
	case limit.Percent && (c.before <= fewFiles || n*100 <= c.before*limit.Number):
		return nil
	case !limit.Percent && n <= limit.Number:
		return nil
	}
	var some []string
	for _, d := range c.Deleted[:min(n, maxProblems)] {
		some = append(some, d.Path)
	}
	list := strings.Join(some, ", ")
	if n > len(some) {
		list += fmt.Sprintf(" and %d more", n-len(some))
	}
	return fmt.Errorf("%w (%s): %d of the %d files of release %d: %s; nothing was published. If they are to go, publish with -max-delete=none",
		ErrManyDeleted, limit, n, c.before, c.Previous, list)
}

// warn fills in what somebody should look at before publishing.
func (c *Changes) warn(limit *MaxDelete) {
	if err := c.Allowed(limit); err != nil {
		c.Warnings = append(c.Warnings, "it would be held back: "+err.Error())
	}
	if n := len(c.Changed) + len(c.Moved) + len(c.Deleted); c.before > fewFiles && n > c.before/2 {
		c.Warnings = append(c.Warnings, fmt.Sprintf("%d of the %d files of the release before are changed, moved or deleted", n, c.before))
	}
	if n := len(c.Modes); n > 0 {
		c.Warnings = append(c.Warnings, fmt.Sprintf("%d files or folders get another mode", n))
	}
}
