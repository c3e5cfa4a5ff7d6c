package node

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// treeOf makes a tree whose modes, times and links a torrent does not tell.
func treeOf(t *testing.T, text string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "www")
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.MkdirAll(at("bin"), 0o755), os.MkdirAll(at("empty/inside"), 0o755),
		os.WriteFile(at("bin/run"), []byte(text), 0o600), os.WriteFile(at("index"), []byte("index of "+text), 0o600), os.WriteFile(at("none"), nil, 0o600),
		os.Symlink("bin/run", at("run")), os.Symlink("../index", at("bin/up")),
		os.Chmod(at("bin/run"), 0o755), os.Chmod(at("index"), 0o440), os.Chmod(at("none"), 0o604), os.Chmod(at("empty"), 0o750),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range []string{"bin/run", "index", "none", "bin", "empty/inside", "empty", "."} {
		when := time.Unix(int64(1e9+i), 0)
		if err := os.Chtimes(at(name), when, when); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// sameDress compares modes, times and links of all in two trees.
func sameDress(t *testing.T, want, got string) {
	t.Helper()
	err := filepath.Walk(want, func(name string, w os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(want, name)
		g, err := os.Lstat(filepath.Join(got, rel))
		if err != nil {
			t.Error(err)
			return nil
		}
		if g.Mode() != w.Mode() || g.ModTime().Unix() != w.ModTime().Unix() {
			t.Errorf("%s: %v of %v, want %v of %v", rel, g.Mode(), g.ModTime().Unix(), w.Mode(), w.ModTime().Unix())
		}
		if w.Mode()&os.ModeSymlink != 0 {
			to, _ := os.Readlink(name)
			if at, _ := os.Readlink(filepath.Join(got, rel)); at != to {
				t.Errorf("%s leads to %q, want %q", rel, at, to)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A tree that is fetched by its channel's link has modes, times, symlinks and empty
// folders of the signed manifest; also where a run was killed before it had set
// them, and when a newer version takes the place of it.
func TestFetchedTreeIsDressed(t *testing.T) {
	master, at := newMaster(t)
	publish := func(dir string) {
		t.Helper()
		if _, err := master.Publish(t.Context(), PublishRequest{Path: dir, Channel: "web"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	first := treeOf(t, "first")
	publish(first)
	link, to := master.channelLink("web"), t.TempDir()
	fetch := func() {
		t.Helper()
		if err := fetchInto(t, to, begins(at), link); err != nil {
			t.Fatal(err)
		}
	}
	fetch()
	www := filepath.Join(to, "www")
	sameDress(t, first, www)
	wantFile(t, "through a symlink", filepath.Join(www, "run"), "first")

	// Who runs it again changes nothing, as it may be another user's by now.
	before := changeTimes(t, www)
	fetch()
	if after := changeTimes(t, www); !maps.Equal(before, after) {
		t.Errorf("changed for nothing: before %v, after %v", before, after)
	}

	for _, err := range []error{
		os.Chmod(filepath.Join(www, "bin/run"), 0o644), os.Remove(filepath.Join(www, "run")), os.Remove(filepath.Join(www, "empty/inside")),
		os.Remove(filepath.Join(www, "bin/up")), os.Symlink("run", filepath.Join(www, "bin/up")), os.Chmod(filepath.Join(www, "empty"), 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	fetch()
	sameDress(t, first, www)

	second := treeOf(t, "second")
	publish(second)
	if err := fetchInto(t, to, func(o *FetchOptions) { begins(at)(o); o.Overwrite = true }, link); err != nil {
		t.Fatal(err)
	}
	sameDress(t, second, www)
	wantFile(t, "through a symlink", filepath.Join(www, "run"), "second")

	// What the operator has put in the place of a link stays, and is named.
	if err := os.Remove(filepath.Join(www, "run")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(www, "run"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := fetchInto(t, to, begins(at), link); err == nil {
		t.Error("a file in the place of a symlink is no error")
	}
	wantFile(t, "the operator's", filepath.Join(www, "run"), "mine")
}

// changeTimes are those of everything in a tree, by path.
func changeTimes(t *testing.T, top string) map[string]syscall.Timespec {
	t.Helper()
	out := map[string]syscall.Timespec{}
	err := filepath.WalkDir(top, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := os.Lstat(p)
		if err == nil {
			out[p] = st.Sys().(*syscall.Stat_t).Ctim
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
