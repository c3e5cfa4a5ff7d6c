package upstream

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"distd/internal/manifest"
	"distd/internal/shrink"
)

// tale is a document that does not repeat itself much.
func tale(changed string) []byte {
	var b bytes.Buffer
	for i := range 2000 {
		fmt.Fprintf(&b, "%x\n", sha1.Sum([]byte{byte(i), byte(i >> 8)}))
	}
	return append(b.Bytes(), changed...)
}

func packed(t *testing.T, doc, base []byte) []byte {
	t.Helper()
	b, err := shrink.Pack(doc, base)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestShortForms has upstreams that have some of the forms, or lie in them. The
// document is the right one always.
func TestShortForms(t *testing.T) {
	old, doc := tale("old"), tale("new")
	id, oldID := manifest.ID(doc), manifest.ID(old)
	base := &Base{ID: oldID, Manifest: old, Info: old}
	diff, whole := packed(t, doc, old), packed(t, doc, nil)
	bomb := packed(t, make([]byte, manifest.MaxManifest+1), nil)
	for _, tc := range []struct {
		name        string
		base        *Base
		diff, whole []byte
		asked       int
		form        string
		refused     int64
	}{
		{"difference", base, diff, whole, 1, "difference", 0},
		{"no base", nil, diff, whole, 1, "packed", 0},
		{"no difference", base, nil, whole, 2, "packed", 0},
		{"plain server", base, nil, nil, 3, "plain", 0},
		{"small base", &Base{ID: oldID, Manifest: old[:100]}, diff, whole, 1, "plain", 0},
		{"another document", base, packed(t, tale("evil"), old), whole, 2, "packed", 1},
		{"another base", base, packed(t, doc, tale("other")), whole, 2, "packed", 1},
		{"garbage", base, []byte("garbage"), whole, 2, "packed", 1},
		{"bombs", base, bomb, bomb, 3, "plain", 2},
		{"empty", base, []byte{}, []byte{}, 3, "plain", 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			asked := 0
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				name := strings.TrimPrefix(r.URL.Path, "/releases/"+id+"/")
				if name == "manifest.json.minisig" {
					_, _ = w.Write([]byte("sig"))
					return
				}
				asked++
				for n, b := range map[string][]byte{manifest.ShortName("manifest.json", oldID): tc.diff, "manifest.json.zst": tc.whole, "manifest.json": doc} {
					if name == n && b != nil {
						_, _ = w.Write(b)
						return
					}
				}
				http.NotFound(w, r)
			}))
			defer srv.Close()
			var tr Traffic
			var told []string
			c, err := New(srv.URL, Options{Traffic: &tr, Short: func(i, doc, base string, b []byte) {
				if i != id || doc != "manifest.json" || !bytes.Equal(b, map[string][]byte{"": tc.whole, oldID: tc.diff}[base]) {
					t.Errorf("told of %s of %s from %q, %d bytes", doc, i, base, len(b))
				}
				told = append(told, base)
			}})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			got, sig, err := c.Manifest(t.Context(), id, tc.base)
			if err != nil || !bytes.Equal(got, doc) || string(sig) != "sig" {
				t.Fatalf("%d bytes, %q, %v", len(got), sig, err)
			}
			var form string
			for f, n := range map[string]int64{"difference": tr.Difference.Load(), "packed": tr.Packed.Load(), "plain": tr.Plain.Load()} {
				if n > 0 {
					form += f
				}
			}
			if want := map[string][]string{"difference": {oldID}, "packed": {""}}[tc.form]; !slices.Equal(told, want) {
				t.Errorf("told of short forms from %q, want %q", told, want)
			}
			if form != tc.form || asked != tc.asked || tr.Refused.Load() != tc.refused {
				t.Errorf("%d questions, form %s, %d refused; want %d, %s, %d", asked, form, tr.Refused.Load(), tc.asked, tc.form, tc.refused)
			}
		})
	}
}

func TestInfo(t *testing.T) {
	old, doc := tale("old"), tale("new")
	id, oldID, sum := manifest.ID(doc), manifest.ID(old), sha1.Sum(doc)
	files := map[string][]byte{manifest.ShortName("info", oldID): packed(t, doc, old)}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, ok := files[strings.TrimPrefix(r.URL.Path, "/releases/"+id+"/")]
		if !ok {
			http.NotFound(w, r)
		}
		_, _ = w.Write(b)
	}))
	defer srv.Close()
	c, err := New(srv.URL, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	base := &Base{ID: oldID, Info: old}
	if b, err := c.Info(t.Context(), id, hex.EncodeToString(sum[:]), base, 1<<20); err != nil || !bytes.Equal(b, doc) {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if _, err := c.Info(t.Context(), id, strings.Repeat("0", 40), base, 1<<20); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another infohash: %v", err)
	}
	if _, err := c.Info(t.Context(), id, hex.EncodeToString(sum[:]), base, 1<<10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("larger than the limit: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Info(ctx, id, hex.EncodeToString(sum[:]), base, 1<<20); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}

// TestPack has servers that know of the limit, that send ranges, and that lie.
func TestPack(t *testing.T) {
	pack := []byte("0123456789")
	id, base := strings.Repeat("1", 64), strings.Repeat("2", 64)
	ranged := func(value string, b []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", value)
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(b)
		}
	}
	plain := func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(pack))
	}
	for _, tc := range []struct {
		name  string
		h     http.HandlerFunc
		limit int64
		want  error // nil with ok false: any
		ok    bool
	}{
		{"fits", plain, 10, nil, true},
		{"fits well", plain, 1000, nil, true},
		{"too large", plain, 9, ErrTooLarge, false},
		{"without ranges", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(pack) }, 10, nil, true},
		{"without ranges, too large", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(pack) }, 9, ErrTooLarge, false},
		{"refused", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestEntityTooLarge) }, 9, ErrTooLarge, false},
		{"none", http.NotFound, 10, fs.ErrNotExist, false},
		{"not yet", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, 10, nil, false},
		{"no range", ranged("", pack), 10, nil, false},
		{"another range", ranged("bytes 1-9/10", pack[1:]), 10, nil, false},
		{"negative", ranged("bytes 0--2/-1", nil), 10, nil, false},
		{"more than it says", ranged("bytes 0-4/5", pack), 20, nil, false},
		{"unknown total", ranged("bytes 0-9/*", pack), 10, nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/releases/"+id+"/delta/"+base || r.Header.Get(manifest.HeaderAtMost) != fmt.Sprint(tc.limit) {
					t.Errorf("%s %v", r.URL, r.Header)
				}
				tc.h(w, r)
			}))
			defer srv.Close()
			c, err := New(srv.URL, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			b, err := c.Pack(t.Context(), id, base, tc.limit)
			if (err == nil) != tc.ok || tc.ok && !bytes.Equal(b, pack) || tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}
