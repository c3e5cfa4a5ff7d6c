package store

import (
	"bytes"
	"slices"
	"strings"

	"distd/internal/manifest"
)

// entry is what counts as a change of a path.
type entry struct {
	mode   uint32
	size   int64
	sum    string
	target string // of a symlink
	linked string // of a hard link: as in LinkedBeside
	dir    bool
}

// writeChanged writes the list of what the release changes against the
// previous one. It is durable before the hook that reads it is due.
func (s *Store) writeChanged(previous string, r *Release) error {
	var old *manifest.Manifest
	if p, err := s.Release(previous); previous != "" && err == nil {
		old = p.Manifest
	}
	return s.fs.replace(changedDir+"/"+r.ID, changes(old, r.Manifest), 0o644)
}

// changes lists the paths that differ between two releases, sorted, one a line:
// a letter (A added, M changed, D deleted), a tab, the path; a slash behind
// those of folders. Without an old release, or with one of another kind,
// everything is added. A new time alone is not a change; that a path has become
// another name of a file, or is one no longer, is.
func changes(old, cur *manifest.Manifest) []byte {
	before, after := map[string]entry{}, entries(cur)
	link := func(in map[string]entry, to map[string]string) {
		for p, first := range to {
			e := in[p]
			e.linked = first
			in[p] = e
		}
	}
	if old != nil && old.Kind == cur.Kind && (cur.Kind == manifest.KindTree || old.Name == cur.Name) {
		before = entries(old)
		link(before, old.LinkedBeside(cur))
		link(after, cur.LinkedBeside(old))
	}
	var lines []string // path first, for sorting
	for p, e := range after {
		b, was := before[p]
		switch {
		case !was:
			lines = append(lines, p+"\tA")
		case b != e:
			lines = append(lines, p+"\tM")
		}
	}
	for p := range before {
		if _, is := after[p]; !is {
			lines = append(lines, p+"\tD")
		}
	}
	slices.Sort(lines)
	var out bytes.Buffer
	for _, l := range lines {
		p, letter, _ := strings.Cut(l, "\t") // names have no tabs
		out.WriteString(letter + "\t" + p + "\n")
	}
	return out.Bytes()
}

func entries(m *manifest.Manifest) map[string]entry {
	out := make(map[string]entry, len(m.Files)+len(m.Dirs))
	for _, f := range m.Files {
		out[f.Path] = entry{mode: f.Mode, size: f.Size, sum: f.SHA256, target: f.Symlink}
	}
	root := m.Name + "/"
	for _, d := range allDirs(m) {
		if p, ok := strings.CutPrefix(d.Path, root); ok {
			out[p+"/"] = entry{mode: d.Mode, dir: true}
		}
	}
	return out
}
