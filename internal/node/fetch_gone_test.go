package node

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pathsIn lists everything below a folder.
func pathsIn(t *testing.T, top string) string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(top, func(p string, _ fs.DirEntry, err error) error {
		out = append(out, strings.TrimPrefix(p, top))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// What a version does not have is gone from the folder that is followed, also when
// all that it has is there already. After a restart nothing of the folder is touched.
func TestFollowedFolderLosesWhatIsGone(t *testing.T) {
	master, at := newMaster(t)
	site := filepath.Join(t.TempDir(), "site")
	in := func(name string) string { return filepath.Join(site, name) }
	publish := func() {
		t.Helper()
		if _, err := master.Publish(t.Context(), PublishRequest{Path: site, Channel: "web"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	must := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(in("d"), 0o755), os.WriteFile(in("a"), []byte(strings.Repeat("of a ", 10_000)), 0o644), os.WriteFile(in("d/b"), []byte("b"), 0o644),
		os.WriteFile(in("z"), []byte("z"), 0o644), os.Symlink("a", in("symlink")), os.Link(in("a"), in("name")), os.MkdirAll(in("empty"), 0o755))
	publish()
	f := follow(t, master.channelLink("web"), t.TempDir(), begins(at))
	f.comes()
	got := filepath.Join(f.dir, "site")
	if a, b := pathsIn(t, got), pathsIn(t, site); a != b {
		t.Errorf("has %s, want %s", a, b)
	}
	for _, gone := range []string{"symlink", "name", "empty", "z"} {
		must(os.Remove(in(gone)))
		publish()
		f.comes()
		if a, b := pathsIn(t, got), pathsIn(t, site); a != b {
			t.Errorf("without %s: has %s, want %s", gone, a, b)
		}
	}
	f.stop()
	mine, a := filepath.Join(got, "mine"), filepath.Join(got, "a")
	must(os.WriteFile(mine, nil, 0o600), os.Chmod(a, 0o600))
	follow(t, master.channelLink("web"), f.dir, begins(at))
	eventually(t, func() bool { // it has looked
		st, err := os.Stat(a)
		return err == nil && st.Mode().Perm() == 0o644
	})
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
}
