package pieces

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"distd/pkg/swarm/pieces/piecestest"
)

// linked puts files of the release into the store's place as links to others,
// whose folder it returns.
func linked(t *testing.T, p place, r *piecestest.Release, files ...int) string {
	t.Helper()
	old := t.TempDir()
	for _, i := range files {
		f := r.Layout.Files[i]
		from, to := filepath.Join(old, filepath.Base(f.Path)), filePath(p, r, i)
		off := r.Layout.Offset(i)
		if err := os.WriteFile(from, r.Data[off:off+f.Length], 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(from, to); err != nil {
			t.Fatal(err)
		}
	}
	return old
}

func TestAdopt(t *testing.T) {
	r := piecestest.NewRelease(64, 100, 28, 0, 200, 10, 10, 300) // pieces end at 64, 128, 192, ...
	for _, c := range []struct {
		name  string
		files []int
		want  []int
	}{
		{"none", nil, nil},
		{"one with a piece of its own", []int{0}, []int{0}},
		{"two that share a piece", []int{1, 0}, []int{0, 1}},
		{"the middle", []int{3}, []int{2, 3, 4}},
		{"all", []int{0, 1, 3, 4, 5, 6}, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t, "")
			linked(t, p, r, c.files...)
			cfg, hashed := counting(p.config(r))
			cfg.Shared = true
			s := mustOpen(t, cfg)
			if n := s.Adopt(c.files); n != len(c.want) {
				t.Errorf("%d pieces were added, want %d", n, len(c.want))
			}
			if got := slices.Collect(s.Have().Ones()); !slices.Equal(got, c.want) {
				t.Errorf("have %v, want %v", got, c.want)
			}
			for _, i := range c.want {
				piecestest.CheckPiece(t, s, r, i)
			}
			mustSync(t, s)
			if again := recovered(t, cfg); !slices.Equal(slices.Collect(again.Have().Ones()), c.want) {
				t.Errorf("recovered %v", slices.Collect(again.Have().Ones()))
			}
			if len(c.want) == r.Layout.NumPieces() && hashed.Load() > 0 {
				t.Errorf("%d pieces were hashed", hashed.Load())
			}
		})
	}
}

// TestSharedFilesAreNotWritten fetches what is missing beside files that another
// release has too, whole, damaged, cut and lengthened ones.
func TestSharedFilesAreNotWritten(t *testing.T) {
	r := piecestest.NewRelease(64, 100, 28, 200, 50, 3<<20)
	for name, damage := range map[string]func(b []byte) []byte{
		"whole":      func(b []byte) []byte { return b },
		"changed":    func(b []byte) []byte { b[len(b)/2]++; return b },
		"cut":        func(b []byte) []byte { return b[:len(b)/2] },
		"lengthened": func(b []byte) []byte { return append(b, "more"...) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, "")
			shared := []int{0, 2, 4}
			old := linked(t, p, r, shared...)
			before := map[string][]byte{}
			for _, i := range shared {
				file := filepath.Join(old, filepath.Base(r.Layout.Files[i].Path))
				b, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				before[file] = damage(b)
				// In place, so that both names have it.
				if err := os.WriteFile(file, before[file], 0o644); err != nil {
					t.Fatal(err)
				}
			}
			cfg := p.config(r)
			cfg.Shared = true
			s := filled(t, cfg, r)
			mustSync(t, s)
			for i := range r.Layout.NumPieces() {
				piecestest.CheckPiece(t, s, r, i)
			}
			for file, want := range before {
				if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s was changed: %d bytes, had %d: %v", file, len(got), len(want), err)
				}
			}
			for _, i := range shared {
				if info, err := os.Stat(filePath(p, r, i)); err != nil || (links(info) > 1) != (name == "whole") {
					t.Errorf("file %d has %d names: %v", i, links(info), err)
				}
			}
			if entries, _ := filepath.Glob(filepath.Join(p.dir, "rel/*/.own-*")); entries != nil {
				t.Errorf("left behind: %v", entries)
			}
		})
	}
}

// TestDurableFilesAreNotSynced counts what Sync syncs of adopted files, and of one
// that is written to afterwards.
func TestDurableFilesAreNotSynced(t *testing.T) {
	r := piecestest.NewRelease(64, 64, 64, 100, 28)
	p := newPlace(t, "")
	linked(t, p, r, 0, 1, 2)
	cfg := p.config(r)
	cfg.Shared = true
	s := mustOpen(t, cfg)
	var synced []string
	s.fsync = func(f *os.File) error {
		synced = append(synced, filepath.Base(f.Name()))
		return f.Sync()
	}
	want := func(when string, files ...int) {
		t.Helper()
		mustSync(t, s)
		var names []string
		for _, i := range files {
			names = append(names, filepath.Base(r.Layout.Files[i].Path))
		}
		if slices.Sort(synced); !slices.Equal(synced, names) {
			t.Errorf("%s: synced %v, want %v", when, synced, names)
		}
		synced = nil
	}
	s.Durable([]int{0, 2})
	s.Adopt([]int{0, 1, 2})
	want("adopted", 1)
	off := r.Layout.PieceOffset(3)
	if err := s.WritePiece(3, r.Data[off:off+r.Layout.PieceSize(3)]); err != nil {
		t.Fatal(err)
	}
	want("with a piece behind a durable file", 3)
	// Somebody has changed the file, so that it is written to.
	s.Drop(0)
	file := filePath(p, r, 0)
	if err := os.WriteFile(file, make([]byte, 64), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.WritePiece(0, r.Data[:64]); err != nil {
		t.Fatal(err)
	}
	want("written to", 0)
	if again := recovered(t, cfg); !again.Have().All() {
		t.Errorf("recovered %v", slices.Collect(again.Have().Ones()))
	}
}
