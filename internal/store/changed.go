package store

import (
	"bytes"
	"slices"
	"strings"

	"distd/internal/manifest"
)

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
	if old == nil || old.Kind != cur.Kind || cur.Kind == manifest.KindFile && old.Name != cur.Name {
		old = &manifest.Manifest{}
	}
	lines := append(changedFiles(old, cur), changedDirs(old, cur)...)
	slices.Sort(lines)
	var out bytes.Buffer
	for _, l := range lines {
		p, letter, _ := strings.Cut(l, "\t") // names have no tabs
		out.WriteString(letter + "\t" + p + "\n")
	}
	return out.Bytes()
}

// changedFiles are the lines of files and symlinks, path first, for sorting. There
// may be very many, of which few have changed.
func changedFiles(old, cur *manifest.Manifest) (lines []string) {
	before, after := old.LinkedBeside(cur), cur.LinkedBeside(old)
	was, is := old.Files, cur.Files // both are sorted
	for len(was)+len(is) > 0 {
		switch {
		case len(is) == 0 || len(was) > 0 && was[0].Path < is[0].Path:
			lines = append(lines, was[0].Path+"\tD")
			was = was[1:]
		case len(was) == 0 || is[0].Path < was[0].Path:
			lines = append(lines, is[0].Path+"\tA")
			is = is[1:]
		default:
			a, b := &was[0], &is[0]
			if a.Mode != b.Mode || a.Size != b.Size || a.SHA256 != b.SHA256 || a.Symlink != b.Symlink || before[a.Path] != after[b.Path] {
				lines = append(lines, b.Path+"\tM")
			}
			was, is = was[1:], is[1:]
		}
	}
	return lines
}

// changedDirs are those of folders.
func changedDirs(old, cur *manifest.Manifest) (lines []string) {
	before, after := dirModes(old), dirModes(cur)
	for p, mode := range after {
		switch b, was := before[p]; {
		case !was:
			lines = append(lines, p+"/\tA")
		case b != mode:
			lines = append(lines, p+"/\tM")
		}
	}
	for p := range before {
		if _, is := after[p]; !is {
			lines = append(lines, p+"/\tD")
		}
	}
	return lines
}

// dirModes are the modes of a tree's folders, but for its root.
func dirModes(m *manifest.Manifest) map[string]uint32 {
	out := make(map[string]uint32, len(m.Dirs))
	for _, d := range allDirs(m) {
		if p, ok := strings.CutPrefix(d.Path, m.Name+"/"); ok {
			out[p] = d.Mode
		}
	}
	return out
}
