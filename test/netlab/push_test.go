package netlab

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestChangeTree(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "content")
	if err := makeFiles(source, equalSizes(400_000, 400)); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "before"), os.DirFS(source)); err != nil {
		t.Fatal(err)
	}
	n, err := ChangeTree(20, 5)(source)
	if err != nil || n != 20_000 {
		t.Fatalf("%d bytes are other: %v", n, err)
	}
	files, _ := filepath.Glob(filepath.Join(source, "*", "*"))
	moved, _ := filepath.Glob(filepath.Join(source, "moved", "*"))
	if len(files) != 395 || len(moved) == 0 {
		t.Errorf("%d files are left, %d of them moved", len(files), len(moved))
	}
	if sameTree(t.Context(), filepath.Join(dir, "before"), source) == nil {
		t.Error("nothing has changed")
	}
	if _, err := ChangeTree(300, 5)(source); err == nil {
		t.Error("more files are changed than there are")
	}
}

func TestChangeFile(t *testing.T) {
	source := filepath.Join(t.TempDir(), "content")
	if err := makeFiles(source, equalSizes(100_000, 1)); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := ChangeFile(777, 10)(source); err != nil || n != 777 {
		t.Fatalf("%d bytes: %v", n, err)
	}
	after, err := os.ReadFile(source)
	if err != nil || len(after) != 100_777 || !bytes.Equal(after[:10_000], before[:10_000]) || !bytes.Equal(after[10_777:], before[10_000:]) {
		t.Errorf("%d bytes, not as wanted: %v", len(after), err)
	}
}
