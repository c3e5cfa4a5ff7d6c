package watch

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"distd/internal/publish"
)

// BenchmarkScan looks through 100,000 files in 1,000 folders: as every
// watch_rescan, with a check of each file for writers, as at the start, and with
// five patterns of what is left out, none of which holds for a file.
func BenchmarkScan(b *testing.B) {
	dir := b.TempDir()
	for i := range 100_000 {
		d := filepath.Join(dir, fmt.Sprintf("%d/%d", i%10, i/10%100))
		if i < 1000 {
			if err := os.MkdirAll(d, 0o755); err != nil {
				b.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(d, fmt.Sprint(i)), []byte("x"), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	patterns := []string{"**/*.log", "node_modules", ".git", "tmp/*", "!tmp/keep"}
	for name, check := range map[string]func(string) bool{"look": nil, "rules": nil, "writers": func(string) bool { return true }} {
		b.Run(name, func(b *testing.B) {
			t := newTree(dir, "", newSystem(), func() {})
			if name == "rules" {
				t.book.read = func(dir string) (Rules, error) { return publish.OpenIgnore(dir, patterns) }
			}
			defer t.close()
			if _, err := t.look(); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				t.mu.Lock()
				t.readRules()
				l, err := t.scan(b.Context(), check)
				t.mu.Unlock()
				if err != nil || l.files != 100_000 || l.opened > 0 {
					b.Fatal(l, err)
				}
			}
		})
	}
}
