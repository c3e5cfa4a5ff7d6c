package store

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// wide is a tree of files that lie a hundred to a folder, of which 20 have other
// content in each release.
func wide(serial uint64, files int) *fixture {
	text := make(map[string]string, files)
	for i := range files {
		content := fmt.Sprint("file ", i)
		if i%(files/20) == 0 {
			content += fmt.Sprint(" of ", serial)
		}
		text[fmt.Sprintf("%04d/", i/100)] = ""
		text[fmt.Sprintf("%04d/%02d", i/100, i%100)] = content
	}
	return makeFixture("wide", "wide", serial, text)
}

// BenchmarkPush is what a release of a large tree costs that changes 20 files, from
// its papers to its being live. ms-* are the parts of it.
func BenchmarkPush(b *testing.B) {
	for _, files := range []int{1_000, 10_000} {
		for _, spare := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d/spare=%v", files, spare), func(b *testing.B) {
				s, err := Open(b.TempDir(), nil)
				must(b, err)
				defer func() { must(b, s.Close()) }()
				push(b, s, wide(1, files), nil)
				parts := map[string]time.Duration{}
				serial := uint64(1)
				for b.Loop() {
					b.StopTimer()
					serial++
					f := wide(serial, files)
					b.StartTimer()
					push(b, s, f, parts)
					b.StopTimer()
					_, err := s.Prune(context.Background(), 1, nil)
					must(b, err)
					if spare {
						_, err := s.PrepareSpare(context.Background(), "wide")
						must(b, err)
					}
					b.StartTimer()
				}
				for name, took := range parts {
					b.ReportMetric(float64(took.Microseconds())/1000/float64(b.N), "ms-"+name)
				}
			})
		}
	}
}

func push(b *testing.B, s *Store, f *fixture, parts map[string]time.Duration) {
	last := time.Now()
	part := func(name string) {
		if parts != nil {
			parts[name] += time.Since(last)
		}
		last = time.Now()
	}
	ctx := context.Background()
	r, err := s.Stage(f.m, f.id, f.meta)
	must(b, err)
	part("stage")
	got, err := s.Reuse(ctx, f.id, ReuseLink, func(int) bool { return true })
	must(b, err)
	part("reuse")
	here := make(map[string]bool, len(got.Files))
	for _, i := range got.Files {
		here[f.m.Files[i].Path] = true
	}
	rest := *f
	rest.files = map[string]string{}
	for p, text := range f.files {
		if !here[p] {
			rest.files[p] = text
		}
	}
	must(b, rest.fetch(r))
	part("fetch")
	_, err = s.Commit(ctx, f.id)
	must(b, err)
	part("commit")
	data, sig, p := f.pointer()
	must(b, s.SetPointer(f.m.Channel, data, sig, p))
	_, err = s.Activate(ctx, f.id)
	must(b, err)
	part("activate")
}

func must(b testing.TB, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(strings.TrimSpace(err.Error()))
	}
}
