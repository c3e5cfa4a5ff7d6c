package bucket

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"distd/internal/manifest"
	"distd/internal/publish"
	"distd/internal/store"
)

// memory is a bucket in memory. before and after are called with each request,
// one at a time, and can make it fail: before it is done, or as if its answer
// had been lost.
type memory struct {
	mu            sync.Mutex
	objects       map[string]stored
	uploads       map[string]*upload
	before, after func(op, key string) error
	unconditional bool // writes with conditions are not supported
	writes        []string
	ids           int
}

type stored struct {
	Object
	data []byte
	head Head
}

type upload struct {
	key   string
	head  Head
	begun time.Time
	parts map[int][]byte
}

func newMemory() *memory { return &memory{objects: map[string]stored{}, uploads: map[string]*upload{}} }

func (m *memory) do(ctx context.Context, op, key string, fn func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.before != nil {
		if err := m.before(op, key); err != nil {
			return err
		}
	}
	if err := fn(); err != nil {
		return err
	}
	if m.after != nil {
		return m.after(op, key)
	}
	return nil
}

func (m *memory) Stat(ctx context.Context, key string) (o Object, err error) {
	return o, m.do(ctx, "stat", key, func() error {
		s, ok := m.objects[key]
		if !ok {
			return fmt.Errorf("%w: NoSuchKey", fs.ErrNotExist)
		}
		o = s.Object
		return nil
	})
}

func (m *memory) Get(ctx context.Context, key string, limit int64) (b []byte, o Object, err error) {
	err = m.do(ctx, "get", key, func() error {
		s, ok := m.objects[key]
		if !ok {
			return fmt.Errorf("%w: NoSuchKey", fs.ErrNotExist)
		}
		if int64(len(s.data)) > limit {
			return errors.New("too large")
		}
		b, o = slices.Clone(s.data), s.Object
		return nil
	})
	return b, o, err
}

func readBody(b Body) ([]byte, error) {
	data, err := io.ReadAll(b.Reader)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(data); int64(len(data)) != b.Size || hex.EncodeToString(sum[:]) != b.Sum {
		return nil, errors.New("the body is not what its size and sum say")
	}
	return data, nil
}

func (m *memory) Put(ctx context.Context, key string, h Head, b Body, c Condition) (etag string, err error) {
	data, err := readBody(b)
	if err != nil {
		return "", err
	}
	return etag, m.do(ctx, "put", key, func() error {
		old, there := m.objects[key]
		switch {
		case m.unconditional && c != (Condition{}):
			return ErrUnsupported
		case c.Absent && there, c.Match != "" && old.ETag != c.Match:
			return fmt.Errorf("%w: PreconditionFailed", ErrConflict)
		}
		sum := md5.Sum(data)
		etag = hex.EncodeToString(sum[:])
		m.store(key, etag, h, data)
		return nil
	})
}

func (m *memory) store(key, etag string, h Head, data []byte) {
	m.objects[key] = stored{Object{Key: key, Size: int64(len(data)), ETag: etag, Meta: h.Meta}, data, h}
	m.writes = append(m.writes, key)
}

func (m *memory) List(ctx context.Context, prefix string, flat bool) (out []Object, err error) {
	return out, m.do(ctx, "list", prefix, func() error {
		seen := map[string]bool{}
		for k, s := range m.objects {
			rest, ok := strings.CutPrefix(k, prefix)
			if !ok {
				continue
			}
			o := Object{Key: k, Size: s.Size, ETag: s.ETag}
			if first, _, deep := strings.Cut(rest, "/"); flat && deep {
				o = Object{Key: prefix + first + "/"}
			}
			if !seen[o.Key] {
				seen[o.Key] = true
				out = append(out, o)
			}
		}
		return nil
	})
}

func (m *memory) Remove(ctx context.Context, keys []string) error {
	return m.do(ctx, "remove", keys[0], func() error {
		for _, k := range keys {
			delete(m.objects, k)
		}
		return nil
	})
}

func (m *memory) Begin(ctx context.Context, key string, h Head) (id string, err error) {
	return id, m.do(ctx, "begin", key, func() error {
		m.ids++
		id = fmt.Sprint(m.ids)
		m.uploads[id] = &upload{key: key, head: h, begun: time.Now(), parts: map[int][]byte{}}
		return nil
	})
}

func (m *memory) PutPart(ctx context.Context, key, id string, n int, b Body) (etag string, err error) {
	data, err := readBody(b)
	if err != nil {
		return "", err
	}
	return fmt.Sprint("part", n), m.do(ctx, "part", key, func() error {
		u := m.uploads[id]
		if u == nil || u.key != key {
			return fmt.Errorf("%w: NoSuchUpload", fs.ErrNotExist)
		}
		u.parts[n] = data
		return nil
	})
}

func (m *memory) Finish(ctx context.Context, key, id string, etags []string) error {
	return m.do(ctx, "finish", key, func() error {
		u := m.uploads[id]
		if u == nil {
			return fmt.Errorf("%w: NoSuchUpload", fs.ErrNotExist)
		}
		var data bytes.Buffer
		for i, e := range etags {
			if p, ok := u.parts[i+1]; !ok || e != fmt.Sprint("part", i+1) {
				return errors.New("InvalidPart")
			} else {
				data.Write(p)
			}
		}
		delete(m.uploads, id)
		m.store(key, fmt.Sprintf("joined-%d", len(etags)), u.head, data.Bytes())
		return nil
	})
}

func (m *memory) Abort(ctx context.Context, key, id string) error {
	return m.do(ctx, "abort", key, func() error {
		delete(m.uploads, id)
		return nil
	})
}

func (m *memory) Unfinished(ctx context.Context, prefix string) (out []Upload, err error) {
	return out, m.do(ctx, "unfinished", prefix, func() error {
		for id, u := range m.uploads {
			if strings.HasPrefix(u.key, prefix) {
				out = append(out, Upload{Key: u.key, ID: id, Begun: u.begun})
			}
		}
		return nil
	})
}

// publisher is a folder that releases are published in.
type publisher struct {
	t   *testing.T
	dir string
	st  *store.Store
	key manifest.PrivateKey
}

func newPublisher(t *testing.T) *publisher {
	t.Helper()
	key, err := manifest.GenerateKey()
	check(t, err)
	return publisherWith(t, key)
}

func publisherWith(t *testing.T, key manifest.PrivateKey) *publisher {
	t.Helper()
	p := &publisher{t: t, dir: t.TempDir(), key: key}
	st, err := store.Open(p.dir, zap.NewNop())
	check(t, err)
	t.Cleanup(func() { check(t, st.Close()) })
	p.st = st
	return p
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// release publishes a tree of files in the folder.
func (p *publisher) release(after *manifest.Pointer, files map[string]string) *Release {
	p.t.Helper()
	return p.releaseIn("web", after, files)
}

func (p *publisher) releaseIn(channel string, after *manifest.Pointer, files map[string]string) *Release {
	p.t.Helper()
	src := filepath.Join(p.t.TempDir(), "site")
	for name, text := range files {
		check(p.t, os.MkdirAll(filepath.Dir(filepath.Join(src, name)), 0o755))
		check(p.t, os.WriteFile(filepath.Join(src, name), []byte(text), 0o644))
	}
	return p.publishPath(channel, after, src)
}

func (p *publisher) publishPath(channel string, after *manifest.Pointer, src string) *Release {
	p.t.Helper()
	res, err := publish.Publish(p.t.Context(), p.st, p.key, publish.Options{Path: src, Channel: channel, After: after})
	check(p.t, err)
	r, err := OpenRelease(p.dir, channel, res.ID, p.key.Public(), "https://cdn.example/pre")
	check(p.t, err)
	return r
}

func look(ctx context.Context, t *testing.T, m *memory, p *publisher) *Channel {
	t.Helper()
	c, err := Look(ctx, m, "/pre/", "web", p.key.Public(), nil)
	check(t, err)
	return c
}

// put looks at the bucket and publishes.
func put(t *testing.T, m *memory, p *publisher, r *Release) (*Result, error) {
	t.Helper()
	c, err := Look(t.Context(), m, "pre", "web", p.key.Public(), nil)
	if err != nil {
		return nil, err
	}
	return c.Publish(t.Context(), r, Options{})
}

// serial is that of the release that a reader of the bucket gets: everything
// that latest.json leads to must be there and verify. 0 is no release. torn
// says that the signature is not that of the pointer.
func (m *memory) serial(t *testing.T, key manifest.PublicKey) (serial uint64, torn bool) {
	t.Helper()
	latest, ok := m.objects["pre/channels/web/latest.json"]
	if !ok {
		return 0, false
	}
	sig := m.objects["pre/channels/web/latest.json.minisig"].data
	if _, err := manifest.OpenPointer(key, latest.data, sig); err != nil {
		torn = true
	}
	var id string
	for k := range m.objects {
		if i, ok := strings.CutPrefix(k, "pre/releases/"); ok && bytes.Contains(latest.data, []byte(i[:64])) {
			id = i[:64]
		}
	}
	dir := "pre/releases/" + id + "/"
	man, _, err := manifest.Open(key, m.objects[dir+"manifest.json"].data, m.objects[dir+"manifest.json.minisig"].data)
	if err != nil {
		t.Fatalf("latest.json leads to release %q: %v", id, err)
	}
	for _, f := range man.Files {
		sum := sha256.Sum256(m.objects[dir+"content/"+man.ContentPath(f.Path)].data)
		if hex.EncodeToString(sum[:]) != f.SHA256 {
			t.Errorf("release %d is live, but %s is not there", man.Serial, f.Path)
		}
	}
	for _, name := range []string{man.Name + ".torrent", man.Name + ".metalink", man.Name + ".meta4", "SHA256SUMS"} {
		if len(m.objects[dir+name].data) == 0 {
			t.Errorf("release %d is live, but %s is not there", man.Serial, name)
		}
	}
	return man.Serial, torn
}
