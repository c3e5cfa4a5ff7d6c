package publish

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func someRecord() *record {
	sum, old := sha256.Sum256([]byte("x")), md5.Sum([]byte("x"))
	return &record{source: "/srv/www", release: strings.Repeat("a", 64), files: []recorded{
		{"a", stat{dev: 1, ino: 2, mode: 0o644, size: 3, mtime: instant{4, 5}, ctime: instant{6, 7}}, fileSums{sha256: sum[:]}},
		{"dir/name", stat{dev: 1 << 63, ino: 1<<64 - 1, mode: 0o600, size: 1 << 40, mtime: instant{-1 << 40, 999999999}, ctime: instant{1 << 33, 0}}, fileSums{sum[:], old[:]}},
		{"dir/name2", stat{}, fileSums{sha256: sum[:]}},
	}}
}

func TestRecordForm(t *testing.T) {
	r := someRecord()
	data := r.encode()
	got, err := parseRecord(data)
	if err != nil || !reflect.DeepEqual(got, r) || !got.equal(r) {
		t.Fatalf("read back %+v, %v", got, err)
	}
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 1
		if _, err := parseRecord(bad); err == nil {
			t.Errorf("byte %d was changed, and nobody saw it", i)
		}
		if _, err := parseRecord(data[:i]); err == nil {
			t.Errorf("cut to %d bytes, and nobody saw it", i)
		}
	}
}

// TestRecordOutOfOrder: the checksum is no proof of sense.
func TestRecordOutOfOrder(t *testing.T) {
	r := someRecord()
	r.files[0], r.files[2] = r.files[2], r.files[0]
	if _, err := parseRecord(r.encode()); err == nil {
		t.Error("files that are not sorted are taken")
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(someRecord().encode())
	f.Fuzz(func(t *testing.T, body []byte) {
		data := append([]byte(recordMagic), body...)
		sum := sha256.Sum256(data)
		r, err := parseRecord(append(data, sum[:]...))
		if err == nil {
			if again, err := parseRecord(r.encode()); err != nil || !again.equal(r) {
				t.Errorf("%+v is read back as %+v, %v", r, again, err)
			}
		}
	})
}

// TestRecordLeavesOutYoungFiles: what may change once more without its times
// showing it is read again.
func TestRecordLeavesOutYoungFiles(t *testing.T) {
	now := time.Unix(1000, 0)
	at := func(d time.Duration) instant { return instant{now.Add(d).Unix(), int64(now.Add(d).Nanosecond())} }
	old, young := at(-time.Second), at(-tick/2)
	src := &source{scanned: now, files: []entry{
		{path: "ctime", stat: stat{mtime: old, ctime: young}},
		{path: "future", stat: stat{mtime: at(time.Hour), ctime: old}},
		{path: "link", stat: stat{mode: os.ModeSymlink, mtime: old, ctime: old}},
		{path: "mtime", stat: stat{mtime: young, ctime: old}},
		{path: "old", stat: stat{mtime: old, ctime: old}},
	}}
	r := recordOf(src, "id", make([]fileSums, 5))
	if len(r.files) != 1 || r.files[0].path != "old" {
		t.Errorf("recorded: %+v", r.files)
	}
}

func TestRecordTooLarge(t *testing.T) {
	b := newBench(t)
	name := filepath.Join(b.st.Dir(), recordDir, "web")
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, maxRecord+1); err != nil {
		t.Fatal(err)
	}
	if _, err := loadRecord(b.st, "web"); err == nil {
		t.Error("it is read")
	}
	r := someRecord()
	r.source = strings.Repeat("x", 5000)
	if err := r.save(b.st, "web"); err == nil {
		t.Error("it is written")
	}
	if _, err := os.Stat(name); !os.IsNotExist(err) {
		t.Errorf("the record before it is left: %v", err)
	}
}
