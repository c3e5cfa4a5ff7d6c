package publish

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"

	"distd/internal/manifest"
	"distd/internal/names"
	"distd/internal/store"
)

// recordDir has a file for each channel that says what the files of its source
// were like when they were read. It is of use to the next publish on this disk
// only; without it, or when it is damaged, all files are read.
const recordDir = ownDir + "/publish"

const (
	recordMagic = "distd source 1\n"
	// maxRecord bounds a record, in bytes. That of a larger tree is not kept.
	maxRecord = 512 << 20
	// minRecorded is what a file takes in a record at least, in bytes.
	minRecorded = 10 + sha256.Size
)

// record is what a publish has found out about the files of a source.
type record struct {
	source  string // its path, without symlinks
	release string // ID of the release that has the content of these files
	files   []recorded
}

// recorded is a regular file, in the order of source.files.
type recorded struct {
	path string
	stat stat
	fileSums
}

// recordOf notes the files that are what the release has. A file that was
// changed so shortly before moment, when the source was listed, that a later
// change could show the same times is left out, and so is one from the future.
func recordOf(src *source, release string, files []fileSums) *record {
	r := &record{source: src.real, release: release}
	limit := src.scanned.Add(-tick)
	for i, e := range src.files {
		if e.regular() && e.stat.ctime.time().Before(limit) && e.stat.mtime.time().Before(limit) {
			r.files = append(r.files, recorded{e.path, e.stat, files[i]})
		}
	}
	return r
}

func (r *record) equal(o *record) bool {
	return r.source == o.source && r.release == o.release && slices.EqualFunc(r.files, o.files, func(a, b recorded) bool {
		return a.path == b.path && a.stat == b.stat && bytes.Equal(a.sha256, b.sha256) && bytes.Equal(a.md5, b.md5)
	})
}

// encode writes the record: magic, source, release and number of files, then the
// files, whose paths leave out what they have in common with the one before. The
// SHA-256 of all that stands at the end.
func (r *record) encode() []byte {
	b := []byte(recordMagic)
	str := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	str(r.source)
	str(r.release)
	b = binary.AppendUvarint(b, uint64(len(r.files)))
	before := ""
	for i := range r.files {
		f := &r.files[i]
		n := 0
		for n < min(len(before), len(f.path)) && before[n] == f.path[n] {
			n++
		}
		b = binary.AppendUvarint(b, uint64(n))
		str(f.path[n:])
		before = f.path
		for _, v := range []uint64{f.stat.dev, f.stat.ino, uint64(f.stat.mode)} {
			b = binary.AppendUvarint(b, v)
		}
		for _, v := range []int64{f.stat.size, f.stat.mtime.sec, f.stat.mtime.nsec, f.stat.ctime.sec, f.stat.ctime.nsec} {
			b = binary.AppendVarint(b, v)
		}
		b = append(append(b, byte(len(f.md5))), f.sha256...)
		b = append(b, f.md5...)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

var errRecord = errors.New("the record of the source is damaged")

// parseRecord reads what encode wrote. Whatever else it is given, it takes no
// more memory than some times the length of data.
func parseRecord(data []byte) (*record, error) {
	body, ok := bytes.CutPrefix(data, []byte(recordMagic))
	if !ok || len(body) < sha256.Size {
		return nil, errRecord
	}
	end := len(data) - sha256.Size
	if sum := sha256.Sum256(data[:end]); !bytes.Equal(sum[:], data[end:]) {
		return nil, errRecord
	}
	d := &recordReader{r: bufio.NewReader(bytes.NewReader(body[:len(body)-sha256.Size]))}
	r := &record{source: d.str(), release: d.str()}
	n := d.uint()
	if d.err != nil || n > uint64(len(data)/minRecorded) {
		return nil, errRecord
	}
	r.files = make([]recorded, n)
	before := ""
	for i := range r.files {
		f := &r.files[i]
		shared := d.uint()
		if shared > uint64(len(before)) {
			return nil, errRecord
		}
		f.path = before[:shared] + d.str()
		if d.err != nil || f.path <= before || len(f.path) > names.MaxPath {
			return nil, errRecord
		}
		before = f.path
		f.stat = stat{dev: d.uint(), ino: d.uint(), mode: fs.FileMode(d.uint()), size: d.int()}
		f.stat.mtime, f.stat.ctime = instant{d.int(), d.int()}, instant{d.int(), d.int()}
		d.sums(&f.fileSums)
	}
	if _, err := d.r.ReadByte(); d.err != nil || !errors.Is(err, io.EOF) {
		return nil, errRecord
	}
	return r, nil
}

// recordReader reads the parts of a record until the first error.
type recordReader struct {
	r   *bufio.Reader
	err error
}

func (d *recordReader) uint() (v uint64) {
	if d.err == nil {
		v, d.err = binary.ReadUvarint(d.r)
	}
	return v
}

func (d *recordReader) int() (v int64) {
	if d.err == nil {
		v, d.err = binary.ReadVarint(d.r)
	}
	return v
}

func (d *recordReader) bytes(n uint64) []byte {
	if d.err == nil && n > names.MaxPath {
		d.err = errRecord
	}
	if d.err != nil {
		return nil
	}
	b := make([]byte, n)
	_, d.err = io.ReadFull(d.r, b)
	return b
}

func (d *recordReader) str() string { return string(d.bytes(d.uint())) }

func (d *recordReader) sums(f *fileSums) {
	n := uint64(0)
	if d.err == nil {
		var b byte
		b, d.err = d.r.ReadByte()
		n = uint64(b)
	}
	if d.err == nil && n != 0 && n != md5.Size {
		d.err = errRecord
	}
	f.sha256 = d.bytes(sha256.Size)
	if n > 0 {
		f.md5 = d.bytes(n)
	}
}

// loadRecord reads the channel's record; nil when there is none.
func loadRecord(st *store.Store, channel string) (*record, error) {
	f, err := st.Root().Open(recordDir + "/" + channel)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > maxRecord {
		return nil, errRecord
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, err
	}
	r, err := parseRecord(data)
	if err == nil && !manifest.ValidID(r.release) {
		err = errRecord
	}
	return r, err
}

// save writes the record as that of the channel. A record that is too large is
// not kept, and the one before it is removed.
func (r *record) save(st *store.Store, channel string) error {
	name := filepath.Join(st.Dir(), recordDir, channel)
	data := r.encode()
	if len(data) > maxRecord || len(r.source) > names.MaxPath {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return fmt.Errorf("a record of %d bytes is too large", len(data))
	}
	if err := st.Root().MkdirAll(recordDir, 0o700); err != nil {
		return err
	}
	return renameio.WriteFile(name, data, 0o600)
}

// match returns for each of the source's files the index of its record, -1
// where the file is another one or may have been changed. In a folder that was
// renamed files are what they were.
func (r *record) match(files []entry, md5 bool) []int {
	out := make([]int, len(files))
	elsewhere := map[stat][]int{} // files that are not where they were, if they were anywhere
	at := 0
	for i, e := range files {
		for at < len(r.files) && strings.Compare(r.files[at].path, e.path) < 0 {
			at++
		}
		out[i] = -1
		switch {
		case !e.regular():
		case at == len(r.files) || r.files[at].path != e.path:
			elsewhere[e.stat] = append(elsewhere[e.stat], i)
		case r.files[at].stat == e.stat && (!md5 || r.files[at].md5 != nil):
			out[i] = at
		}
	}
	if len(elsewhere) == 0 {
		return out
	}
	for at := range r.files {
		if md5 && r.files[at].md5 == nil {
			continue
		}
		for _, i := range elsewhere[r.files[at].stat] {
			out[i] = at
		}
	}
	return out
}
