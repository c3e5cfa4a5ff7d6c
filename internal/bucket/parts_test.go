package bucket

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"distd/internal/manifest"
)

// large publishes a file of three parts, the last of them short.
func large(t *testing.T, p *publisher) *Release {
	t.Helper()
	src := filepath.Join(t.TempDir(), "big.img")
	f, err := os.Create(src)
	check(t, err)
	check(t, f.Truncate(2*leastPart+5000))
	_, err = f.WriteAt([]byte("in the second part"), leastPart+7)
	check(t, errors.Join(err, f.Close()))
	return p.publishPath("web", nil, src)
}

// TestParts sends a large file in parts; when a part cannot be sent, or the
// publish is ended, nothing of it stays in the bucket.
func TestParts(t *testing.T) {
	p := newPublisher(t)
	r := large(t, p)
	for name, broken := range map[string]func(cancel context.CancelFunc, op string, n int) error{
		"nothing": func(context.CancelFunc, string, int) error { return nil },
		"a part fails": func(_ context.CancelFunc, op string, n int) error {
			return failIf(op == "part" && n == 2, errBroken)
		},
		"a part fails once": func(_ context.CancelFunc, op string, n int) error {
			return failIf(op == "part" && n == 2, &TemporaryError{errBroken})
		},
		"parts fail until the end": func(_ context.CancelFunc, op string, _ int) error {
			return failIf(op == "part", &TemporaryError{errBroken})
		},
		"it cannot be finished": func(_ context.CancelFunc, op string, _ int) error {
			return failIf(op == "finish", errBroken)
		},
		"ended": func(cancel context.CancelFunc, op string, n int) error {
			if op == "part" && n == 2 {
				cancel()
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				c := look(t.Context(), t, m, p)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				count := map[string]int{}
				m.before = func(op, _ string) error { count[op]++; return broken(cancel, op, count[op]) }
				var done, total int64
				res, err := c.Publish(ctx, r, Options{Progress: func(d, n int64) { done, total = d, n }})
				m.before = nil
				fine := name == "nothing" || name == "a part fails once"
				if fine != (err == nil) {
					t.Fatalf("%+v, %v", res, err)
				}
				if len(m.uploads) > 0 {
					t.Errorf("%d unfinished objects are left", len(m.uploads))
				}
				if !fine {
					if serial, _ := m.serial(t, p.key.Public()); serial != 0 {
						t.Errorf("a reader gets release %d", serial)
					}
					_, err = put(t, m, p, r)
					check(t, err)
				} else if done != total || total < r.Manifest.Size {
					t.Errorf("progress ended at %d of %d", done, total)
				}
				if serial, torn := m.serial(t, p.key.Public()); serial != 1 || torn {
					t.Errorf("a reader gets release %d, torn: %v", serial, torn)
				}
			})
		})
	}
}

// TestLostFinish: the answer to the last request of a large object is lost, and
// the next try finds nothing to finish. The object is there.
func TestLostFinish(t *testing.T) {
	p := newPublisher(t)
	r := large(t, p)
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		lost := false
		m.after = func(op, _ string) error {
			if op != "finish" || lost {
				return nil
			}
			lost = true
			return &TemporaryError{errBroken}
		}
		res, err := put(t, m, p, r)
		check(t, err)
		if serial, _ := m.serial(t, p.key.Public()); serial != 1 || !lost || res.Serial != 1 {
			t.Errorf("%+v; a reader gets release %d, the answer was lost: %v", res, serial, lost)
		}
	})
}

// TestHangs: a request that neither moves nor is answered is made anew.
func TestHangs(t *testing.T) {
	p := newPublisher(t)
	r := p.release(nil, siteOne)
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		c := look(t.Context(), t, m, p)
		h := &hanging{memory: m}
		c.objects = h
		start := time.Now()
		_, err := c.Publish(t.Context(), r, Options{})
		check(t, err)
		if took := time.Since(start); !h.hung || took < stall {
			t.Errorf("hung: %v, done after %v", h.hung, took)
		}
	})
}

// hanging is a bucket whose first Put is never answered.
type hanging struct {
	*memory
	hung bool
}

func (h *hanging) Put(ctx context.Context, key string, head Head, b Body, c Condition) (string, error) {
	if !h.hung {
		h.hung = true
		<-ctx.Done()
		return "", ctx.Err()
	}
	return h.memory.Put(ctx, key, head, b, c)
}

// TestChangedFile: a file that is no longer what was published is not sent on,
// whether it is sent whole or in parts.
func TestChangedFile(t *testing.T) {
	p := newPublisher(t)
	for name, r := range map[string]*Release{"content/site/index.html": p.release(nil, siteOne), "content/big.img": large(t, p)} {
		file := filepath.Join(r.dir, name)
		info, err := os.Stat(file)
		check(t, err)
		for _, size := range []int64{info.Size(), info.Size() + 1} {
			check(t, os.WriteFile(file, []byte("changed"), 0o644))
			check(t, os.Truncate(file, size))
			m := newMemory()
			c := look(t.Context(), t, m, p)
			if _, err := c.Publish(t.Context(), r, Options{}); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s with %d bytes: %v, want ErrChanged", name, size, err)
			}
			if serial, _ := m.serial(t, p.key.Public()); serial != 0 || len(m.uploads) > 0 {
				t.Errorf("%s: a reader gets release %d, %d unfinished objects", name, serial, len(m.uploads))
			}
		}
	}
}

func TestPartLength(t *testing.T) {
	for _, size := range []int64{single + 1, 100 << 30, 150 << 30, 5 << 40, 5<<40 + 1} {
		n := partLength(size)
		if parts := (size + n - 1) / n; parts > maxParts || n < leastPart || n%(1<<20) != 0 {
			t.Errorf("%d bytes in %d parts of %d bytes", size, parts, n)
		}
	}
}

// TestKeyLength: a path that S3 cannot hold is refused before anything is sent.
func TestKeyLength(t *testing.T) {
	m, p := newMemory(), newPublisher(t)
	deep := strings.TrimSuffix(strings.Repeat(strings.Repeat("d", 199)+"/", 5), "/")
	r := p.release(nil, map[string]string{deep: "x"})
	if _, err := put(t, m, p, r); !errors.Is(err, manifest.ErrMalformed) || len(m.writes) > 0 {
		t.Errorf("%v after %d writes, want ErrMalformed", err, len(m.writes))
	}
}
