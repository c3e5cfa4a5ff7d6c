package bucket

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"distd/internal/manifest"
)

func TestExpendable(t *testing.T) {
	live := &manifest.Pointer{Manifest: "r5", Serial: 5}
	all := []kept{
		{"r1", 1, true}, {"r2", 2, true}, {"r3", 3, false}, {"r4", 4, true}, {"r5", 5, true},
		{"rival", 5, true}, {"r6", 6, false},
	}
	for keep, want := range map[int][]string{
		1: {"rival", "r3", "r2", "r1"},
		2: {"rival", "r3", "r2", "r1"},
		3: {"rival", "r3", "r1"},
		4: {"rival", "r3"},
		9: {"rival", "r3"},
	} {
		if got := expendable(slices.Clone(all), live, keep); !slices.Equal(got, want) {
			t.Errorf("with keep %d these go: %q, want %q", keep, got, want)
		}
	}
}

// TestPrune publishes five releases and keeps three; other channels and what
// others have put beside stay, and so does what is being sent by others.
func TestPrune(t *testing.T) {
	m, p := newMemory(), newPublisher(t)
	var ids []string
	strange := "pre/releases/" + strings.Repeat("0", 64) + "/manifest.json"
	m.store(strange, "x", Head{}, []byte("not from here"))
	m.uploads["old"] = &upload{key: "pre/releases/x", begun: time.Now().Add(-2 * abandoned)}
	m.uploads["new"] = &upload{key: "pre/releases/x", begun: time.Now()}
	m.uploads["foreign"] = &upload{key: "other/x", begun: time.Now().Add(-2 * abandoned)}
	other, err := Look(t.Context(), m, "pre", "other", p.key.Public(), nil)
	check(t, err)
	elsewhere := p.releaseIn("other", nil, siteOne)
	_, err = other.Publish(t.Context(), elsewhere, Options{Keep: 1})
	check(t, err)
	publish := func(n int) {
		r := p.release(nil, map[string]string{"index.html": fmt.Sprint(n), "more": "m"})
		ids = append(ids, r.ID)
		res, err := look(t.Context(), t, m, p).Publish(t.Context(), r, Options{Keep: 3})
		check(t, err)
		if len(res.Notes) != failed(n) {
			t.Errorf("release %d: notes %q", n, res.Notes)
		}
		if n > 3 && n != 5 && len(res.Removed) == 0 {
			t.Errorf("release %d: nothing was removed", n)
		}
	}
	for n := 1; n <= 6; n++ {
		if n == 5 { // removing ends half-way
			m.before = func(op, key string) error {
				if op != "remove" || m.objects["pre/releases/"+ids[1]+"/content/site/more"].data != nil {
					return nil
				}
				if m.objects["pre/releases/"+ids[1]+"/manifest.json"].data == nil {
					t.Error("the manifest is not the last of what is removed")
				}
				return errBroken
			}
		}
		publish(n)
		m.before = nil
	}
	left := map[string]bool{}
	for k := range m.objects {
		if id, ok := strings.CutPrefix(k, "pre/releases/"); ok {
			left[id[:64]] = true
		}
	}
	for _, id := range []string{ids[3], ids[4], ids[5], elsewhere.ID, strings.Repeat("0", 64)} {
		if !left[id] {
			t.Errorf("release %s is gone", id)
		}
		delete(left, id)
	}
	if len(left) > 0 {
		t.Errorf("these are left too: %v", left)
	}
	if m.uploads["old"] != nil || m.uploads["new"] == nil || m.uploads["foreign"] == nil {
		t.Errorf("unfinished objects that are left: %v", m.uploads)
	}
}

func failed(n int) int {
	if n == 5 {
		return 1
	}
	return 0
}

// TestNamed: what the new release does not have is not left under its name.
func TestNamed(t *testing.T) {
	m, p := newMemory(), newPublisher(t)
	_, err := put(t, m, p, p.release(nil, siteOne))
	check(t, err)
	r := p.release(nil, siteTwo)
	r.docs = slices.DeleteFunc(r.docs, func(d document) bool { return strings.HasSuffix(d.name, ".metalink") })
	_, err = put(t, m, p, r)
	check(t, err)
	if _, ok := m.objects["pre/site.metalink"]; ok {
		t.Error("the old release's metalink is left under its plain name")
	}
	if got, want := string(m.objects["pre/site.torrent"].data), string(r.docs[0].data); got != want {
		t.Error("the plain torrent is not the new release's")
	}
}
