package node

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"distd/internal/watch"
)

// TestWatchKnowsTheIgnoreFile: the watch and the releases go by the same rules.
func TestWatchKnowsTheIgnoreFile(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "www")
	put(t, filepath.Join(folder, "a"), "a")
	put(t, filepath.Join(folder, ".distdignore"), "*.log\n.git\n")
	put(t, filepath.Join(folder, ".git/objects/00/x"), "x")
	f, err := os.Create(filepath.Join(folder, "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	n, _, _ := watching(t, t.TempDir(), folder, nil)
	status := func() watch.Status { return n.Status().Watches[0] }
	published := func(names ...string) func() bool {
		return func() bool { return slices.Equal(slices.Sorted(maps.Keys(newestTree(n))), names) }
	}
	eventually(t, published("./", "a"))
	eventually(t, func() bool { return status().State == watch.Watching })
	if s := status(); s.Folders != 1 || s.Ignored != 2 {
		t.Errorf("status %+v", s)
	}
	put(t, filepath.Join(folder, ".distdignore"), "*.log\n[\n")
	eventually(t, func() bool { return status().State == watch.Held })
	if s := status(); !strings.Contains(s.Problem, ".distdignore line 2: ") || s.Folders != 1 {
		t.Errorf("with a wrong pattern: %+v", s)
	}
	put(t, filepath.Join(folder, ".distdignore"), "*.log\n.git/objects\n")
	eventually(t, published("./", ".git/", "a"))
	eventually(t, func() bool { return status().State == watch.Watching })
	if s := status(); s.Folders != 2 {
		t.Errorf("with a pattern less: %+v", s)
	}
}
