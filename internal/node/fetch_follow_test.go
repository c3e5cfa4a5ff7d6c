package node

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// versions serves a metalink and its file, which change together.
type versions struct {
	mu      sync.Mutex
	content string
	hashOf  string // of what the metalink speaks
	*httptest.Server
}

func newVersions(t *testing.T) *versions {
	v := &versions{}
	v.Server = httptest.NewServer(v)
	t.Cleanup(v.Close)
	return v
}

func (v *versions) set(content, hashOf string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.content, v.hashOf = content, hashOf
}

func (v *versions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	content, hashOf := v.content, v.hashOf
	v.mu.Unlock()
	switch {
	case content == "":
		w.WriteHeader(http.StatusBadGateway)
	case r.URL.Path == "/f.meta4":
		text := fmt.Sprintf(`<?xml version="1.0"?><metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="f.bin"><size>%d</size><hash type="sha-256">%x</hash><url>%s/f.bin</url></file></metalink>`,
			len(hashOf), sha256.Sum256([]byte(hashOf)), v.URL)
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256([]byte(text))))
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
	case r.URL.Path == "/f.bin":
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256([]byte(content))))
		http.ServeContent(w, r, "f.bin", time.Time{}, strings.NewReader(content))
	default:
		http.NotFound(w, r)
	}
}

// TestFollow follows a metalink through good and bad versions, an outage and a
// restart: a bad one leaves the old one where it is, and each hook runs once.
func TestFollow(t *testing.T) {
	srv, dir := newVersions(t), t.TempDir()
	hook, ran := filepath.Join(dir, "hook.sh"), filepath.Join(dir, "ran")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\ncat \"$3\" >> "+ran+"\necho >> "+ran+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "to")
	core, logs := observer.New(zapcore.InfoLevel)
	told := make(chan []FetchState)
	follow := func() (stop func() error) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		o := FetchOptions{Inputs: []string{srv.URL + "/f.meta4"}, Dir: to, MaxConns: 4, Encryption: "allow", Interval: 10 * time.Millisecond,
			Hooks: FetchHooks{Whole: hook}, Log: zap.New(core)}
		go func() {
			ended <- Follow(ctx, o, func(s []FetchState) { told <- s })
		}()
		return func() error { cancel(); return <-ended }
	}
	has := func(want string) {
		t.Helper()
		if got, err := os.ReadFile(filepath.Join(to, "f.bin")); err != nil || string(got) != want {
			t.Fatalf("the file is %.40q, %v; want %.40q", got, err, want)
		}
	}
	logged := func(text string) {
		t.Helper()
		for logs.FilterMessageSnippet(text).Len() == 0 {
			select {
			case <-time.After(time.Millisecond):
			case <-t.Context().Done():
				t.Fatalf("%q was not logged", text)
			}
		}
		logs.TakeAll()
	}
	one, two, three := strings.Repeat("one", 100_000), strings.Repeat("two", 100_000), "three"
	stop := follow() // the server is away at first
	logged("cannot look for a new version")
	srv.set(one, one)
	<-told
	has(one)
	srv.set("lies", two)
	logged("a new version could not be fetched")
	has(one)
	srv.set(two, two)
	<-told
	has(two)
	if err := stop(); err != nil {
		t.Fatalf("ended with %v", err)
	}
	// What was fetched is known after a restart, with the server away.
	srv.set("", "")
	stop = follow()
	logged("cannot look for a new version")
	srv.set(three, three)
	<-told
	has(three)
	if err := stop(); err != nil {
		t.Fatalf("ended with %v", err)
	}
	if got, _ := os.ReadFile(ran); string(got) != one+"\n"+two+"\n"+three+"\n" {
		t.Errorf("the hook has run with %d bytes: %.20q ... %.20q", len(got), got, got[max(0, len(got)-20):])
	}
}

func TestFollowRefusals(t *testing.T) {
	for _, c := range []struct {
		in   []string
		code int
		want string
	}{
		{nil, ExUsage, "one URL"},
		{[]string{"http://a/x.meta4", "http://b/x.meta4"}, ExUsage, "one URL"},
		{[]string{"x.meta4"}, ExUsage, "the URL of a torrent or metalink"},
		{[]string{"magnet:?xt=urn:btih:0"}, ExDataErr, "infohash"},
		{[]string{"magnet:?xt=urn:btih:" + strings.Repeat("5a", 20)}, ExUsage, "leave -follow out"},
		{[]string{"magnet:?xs=urn:btpk:" + strings.Repeat("5a", 32)}, ExUnavailable, "wants a DHT"},
	} {
		err := Follow(t.Context(), FetchOptions{Inputs: c.in, Dir: t.TempDir(), Encryption: "allow", Interval: time.Second, Log: zap.NewNop()}, nil)
		if ExitCode(err) != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, exit code %d", c.in, err, ExitCode(err))
		}
	}
}
