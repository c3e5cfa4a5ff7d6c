package publish

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"distd/internal/manifest"
)

// item reads the release's item and checks that it leads to the release.
func (b *bench) item(res *Result) []byte {
	b.Helper()
	data := b.meta(res, manifest.ItemFile)
	i, err := manifest.OpenItem(b.key.Public(), data)
	if err != nil {
		b.Fatal(err)
	}
	_, _, p, err := b.st.Pointer(res.Channel)
	if err != nil {
		b.Fatal(err)
	}
	if err := i.Matches(p); err != nil {
		b.Error(err)
	}
	return data
}

// TestAddItem brings back the item that the version which published the release
// did not make.
func TestAddItem(t *testing.T) {
	b := newBench(t)
	res := b.publish(Options{Path: b.write("a", []byte("one"))})
	want := b.item(res)
	add := func(key manifest.PrivateKey, want bool) {
		t.Helper()
		if added, err := AddItem(b.st, key, "web"); err != nil || added != want {
			t.Errorf("added %v, %v; want %v", added, err, want)
		}
	}
	add(b.key, false)
	if err := os.Remove(filepath.Join(res.Dir, manifest.ItemFile)); err != nil {
		t.Fatal(err)
	}
	other, err := manifest.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	add(other, false)
	if _, err := os.Stat(filepath.Join(res.Dir, manifest.ItemFile)); err == nil {
		t.Error("an item of a release that another key has signed")
	}
	add(b.key, true)
	if got := b.item(res); !bytes.Equal(got, want) {
		t.Errorf("item %q, the publisher's was %q", got, want)
	}
	add(b.key, false)
	if r, err := b.st.Release(res.ID); err != nil || !r.Complete {
		t.Errorf("the release is %+v, %v", r, err)
	}
	if _, err := AddItem(b.st, b.key, "none"); err == nil {
		t.Error("a channel without releases has an item")
	}
}

// TestItemFollows: each release has an item of its own serial.
func TestItemFollows(t *testing.T) {
	b := newBench(t)
	path := b.write("a", []byte("one"))
	first := b.item(b.publish(Options{Path: path}))
	b.write("a", []byte("two"))
	if second := b.item(b.publish(Options{Path: path})); bytes.Equal(first, second) {
		t.Error("two releases have one item")
	}
}
