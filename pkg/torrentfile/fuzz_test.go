package torrentfile

import (
	"crypto/sha1"
	"testing"

	"distd/internal/names"
)

func FuzzParse(f *testing.F) {
	outer := dict{"announce": "http://t/a", "announce-list": []any{[]string{"http://t/a", "udp://t:1"}}, "url-list": "http://w/",
		"comment": "c", "created by": "b", "creation date": 1, "httpseeds": []string{"x"}}
	for _, info := range []dict{
		single(nil), single(dict{"private": 1}), single(dict{"length": -1}), single(dict{"length": 0, "pieces": ""}),
		tree(file(20000, "a", "b"), dict{"length": 12768, "attr": "p", "path": []string{".pad", "1"}}, file(7232, "c")),
		tree(dict{"length": 40000, "path": []string{"\xff"}, "path.utf-8": []string{"x"}}),
		tree(file(40000, "..")),
	} {
		f.Add(encode(f, with(outer, dict{"info": info})))
		f.Add(encode(f, info))
	}
	f.Add([]byte("d4:infod6:lengthi99999999999999999999eee"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if tr, err := ParseInfo(b); err == nil {
			check(t, tr)
		}
		tr, err := Parse(b)
		if err != nil {
			return
		}
		check(t, tr)
		out, err := tr.Encode()
		if err != nil {
			t.Fatalf("accepted, but not encoded: %v", err)
		}
		again, err := Parse(out)
		if err != nil {
			t.Fatalf("its own encoding is refused: %v", err)
		}
		diff(t, tr, again)
	})
}

// check says what everybody may rely on in a torrent that Parse has accepted.
func check(t *testing.T, tr *Torrent) {
	if tr.InfoHash != sha1.Sum(tr.InfoBytes) {
		t.Fatal("infohash is not that of the info")
	}
	if n := tr.Layout.NumPieces(); len(tr.Pieces) != n*HashSize {
		t.Fatalf("%d pieces, %d bytes of hashes", n, len(tr.Pieces))
	}
	if names.ReleaseName(tr.Name) != nil || tr.Padding != nil && len(tr.Padding) != len(tr.Layout.Files) {
		t.Fatalf("name %q, %d files, padding %v", tr.Name, len(tr.Layout.Files), tr.Padding)
	}
	if !tr.Tree && (len(tr.Layout.Files) != 1 || tr.Layout.Files[0].Path != tr.Name) {
		t.Fatalf("single file %q has the layout %v", tr.Name, tr.Layout.Files)
	}
	var set names.Set
	for i, f := range tr.Layout.Files {
		if tr.Padding != nil && tr.Padding[i] {
			if err := names.Path(f.Path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := set.Add(f.Path); err != nil || f.Length < 0 {
			t.Fatalf("file %q of %d bytes: %v", f.Path, f.Length, err)
		}
	}
}
