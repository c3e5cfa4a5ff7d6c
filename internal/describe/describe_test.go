package describe

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"distd/pkg/metalink"
)

// options are those for some files with mirrors of one line.
func options(t *testing.T, line string, digests ...string) Options {
	t.Helper()
	d, _, err := ParseDigests(digests, false)
	if err != nil {
		t.Fatal(err)
	}
	mirrors, _, left := ParseMirrors(line, "")
	if left != nil {
		t.Fatal(left)
	}
	return Options{Digests: d, Mirrors: mirrors, Progress: func(int64, int64) {}}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func texts(errs []error) (out []string) {
	for _, err := range errs {
		out = append(out, err.Error())
	}
	return out
}

func TestRun(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "d/a & b|.iso", "abc")
	write(t, "old.metalink", "x")
	write(t, "new.meta4", "x")
	write(t, "sums", "900150983cd24fb0d6963f7d28e17f72  listed.iso\n")
	if err := syscall.Mkfifo("pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	o := options(t, "% http://m/x", "sha1", "ed2k")
	o.Paths = []string{"missing", "./d//a & b|.iso", "d", "old.metalink", "new.meta4", "pipe", "."}
	o.MD5Lists = []string{"sums", "no such list"}
	var done, total int64
	o.Progress = func(d, n int64) { done, total = d, n }
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	const sum1, sum4 = "a9993e364706816aba3e25717850c26c9cd0d89d", "a448017aaf21d8525fc10ae87aa6729d"
	url := func(s string) []metalink.URL {
		return []metalink.URL{{URL: "http://m/x/" + s, Priority: metalink.LowestPriority, Type: "http"}}
	}
	want := []metalink.File{
		{Name: "listed.iso", Size: -1, Hashes: map[string]string{"md5": "900150983cd24fb0d6963f7d28e17f72"}, URLs: url("listed.iso")},
		{
			Name: "d/a & b|.iso", Size: 3, Hashes: map[string]string{"sha-1": sum1, "ed2k": sum4}, URLs: url("d/a%20&%20b%7C.iso"),
			Links: []metalink.Link{
				{Type: "magnet", URL: "magnet:?xt=urn:sha1:" + sum1 + "&dn=d%2Fa+%26+b%7C.iso"},
				{Type: "ed2k", URL: "ed2k://|file|d/a & b_.iso|3|" + sum4 + "|/"},
			},
		},
	}
	if d := cmp.Diff(want, r.Document().Files); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	contain(t, r.Warnings, "d is passed over: it is a folder", ". is passed over")
	contain(t, texts(r.Left), "no such list", "missing: no such file", "pipe is no regular file")
	if !errors.Is(r.Left[1], fs.ErrNotExist) || done != 3 || total != 3 {
		t.Errorf("%v; %d of %d bytes", r.Left[1], done, total)
	}
	var list bytes.Buffer
	if err := r.WriteHashList(&list, o.Digests); err != nil {
		t.Fatal(err)
	}
	if want := "SHA1(./d//a & b|.iso)= " + sum1 + "\nED2K(./d//a & b|.iso)= " + sum4 + "\n"; list.String() != want {
		t.Errorf("hash list %q, want %q", list.String(), want)
	}
}

// Many files at once are in the order in which they were given.
func TestRunKeepsOrder(t *testing.T) {
	t.Chdir(t.TempDir())
	o := options(t, "", "md5")
	for i := range 200 {
		name := strings.Repeat("x", i+1)
		write(t, name, name)
		o.Paths = append(o.Paths, name)
	}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range r.Entries {
		if e.Path != o.Paths[i] || e.File.Size != int64(i+1) {
			t.Fatalf("entry %d is %s of %d bytes", i, e.Path, e.File.Size)
		}
	}
	if len(r.Entries) != 200 {
		t.Errorf("%d entries", len(r.Entries))
	}
}

func TestNameOf(t *testing.T) {
	for given, want := range map[string]string{"a": "a", "./a": "a", "a/../b": "b", "a//b": "a/b", "..a": "..a"} {
		if name, warning := nameOf(given); name != want || warning != "" {
			t.Errorf("%s: %q, warning %q", given, name, warning)
		}
	}
	for given, want := range map[string]string{"/srv/a": "a", "../a": "a", "a/../../b/c": "c"} {
		if name, warning := nameOf(given); name != want || !strings.Contains(warning, given+" is called "+want) {
			t.Errorf("%s: %q, warning %q", given, name, warning)
		}
	}
}

func TestParseMirrors(t *testing.T) {
	const old = "external 100 https % https://bt.master.internet.ip \n internal 100 bittorrent % http://bt.master \n internal 10 http http://bt.master"
	mirrors, warnings, left := ParseMirrors(old, "pub/")
	want := []metalink.Mirror{
		{Location: "external", Preference: 100, Type: "https", Base: "https://bt.master.internet.ip/pub/"},
		{Location: "internal", Preference: 100, Type: "bittorrent", Base: "http://bt.master/pub/"},
		{Location: "internal", Preference: 10, Type: "http", Base: "http://bt.master/pub/", Guessed: true},
	}
	if d := cmp.Diff(want, mirrors); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	contain(t, warnings, `mirrors:3: there is no % before the URL; it is taken for "internal 10 http % http://bt.master"`)
	contain(t, texts(left))

	// What a shell makes of it whose echo does not know -e.
	mirrors, warnings, left = ParseMirrors("-e external 100 https % https://a\n\n   \nrsync://b\na b c d % http://c\nhttp://d\r\n", "pub")
	if len(mirrors) != 2 || mirrors[0].Location != "external" || mirrors[1].Base != "http://d/pub" {
		t.Errorf("mirrors %+v", mirrors)
	}
	contain(t, warnings, "mirrors:1: the -e", `addpath "pub" does not end with a slash`)
	contain(t, texts(left), "mirrors:4: line cannot be used", "mirrors:5: line cannot be used")
	_, warnings, _ = ParseMirrors("% http://a\n% http://me:hunter2@b/\n", "")
	contain(t, warnings, "mirrors:2: the URL has a user or password")
	for _, err := range left {
		if !errors.Is(err, ErrLine) {
			t.Error(err)
		}
	}
}

func TestMD5List(t *testing.T) {
	const sum = "900150983cd24fb0d6963f7d28e17f72"
	path := filepath.Join(t.TempDir(), "sums")
	write(t, path, sum+"  a b.iso\r\n"+strings.ToUpper(sum)+" *./c\n\nMD5 (d (1)) = "+sum+"\nMD5(e)= "+sum+"\nsha1 x\n"+sum[1:]+"  f\n"+sum+"  \n")
	entries, left, err := readMD5List(path)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Path)
		if e.File.Hashes["md5"] != sum || e.File.Size != -1 || !e.Listed {
			t.Errorf("%+v", e)
		}
	}
	if want := []string{"a b.iso", "./c", "d (1)", "e"}; !cmp.Equal(names, want) {
		t.Errorf("names %q, want %q", names, want)
	}
	contain(t, texts(left), ":6: line cannot", ":7: ", ":8: ")
	write(t, path, strings.Repeat("x", 100_000))
	if _, _, err := readMD5List(path); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Error(err)
	}
}
