package manifest

// Share has m use the strings of o where they are the same: most files of a
// release are those of the one before, and their paths and sums then take memory
// once. Nobody else may use m meanwhile.
func (m *Manifest) Share(o *Manifest) {
	k := 0
	for i := range m.Files {
		f := &m.Files[i]
		for k < len(o.Files) && o.Files[k].Path < f.Path {
			k++
		}
		if k < len(o.Files) && o.Files[k].Path == f.Path {
			g := &o.Files[k]
			f.Path = g.Path
			share(&f.SHA256, g.SHA256)
			share(&f.MD5, g.MD5)
			share(&f.Symlink, g.Symlink)
			share(&f.Hardlink, g.Hardlink)
		}
	}
	k = 0
	for i := range m.Dirs {
		d := &m.Dirs[i]
		for k < len(o.Dirs) && o.Dirs[k].Path < d.Path {
			k++
		}
		if k < len(o.Dirs) {
			share(&d.Path, o.Dirs[k].Path)
		}
	}
}

func share(s *string, other string) {
	if *s == other {
		*s = other
	}
}
