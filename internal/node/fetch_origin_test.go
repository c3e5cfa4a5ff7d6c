package node

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"distd/internal/manifest"
)

// following is a call of Follow.
type following struct {
	t    *testing.T
	dir  string
	told chan []FetchState
	logs *observer.ObservedLogs
	stop func()
}

// follow follows a link into a folder until the test ends or stop is called.
func follow(t *testing.T, link, dir string, change func(*FetchOptions)) *following {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	f := &following{t: t, dir: dir, told: make(chan []FetchState, 10), logs: logs}
	o := FetchOptions{Inputs: []string{link}, Dir: dir, MaxConns: 4, Encryption: "allow", IPv4: true, Listen: "127.0.0.1:0", SeedTime: -1, Interval: time.Hour, Log: zap.New(core)}
	change(&o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Follow(ctx, o, func(s []FetchState) { f.told <- s }) }()
	stopped := false
	f.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("following ended with %v", err)
		}
	}
	t.Cleanup(f.stop)
	return f
}

// comes waits for a version.
func (f *following) comes() (s FetchState) {
	f.t.Helper()
	select {
	case all := <-f.told:
		if len(all) != 1 {
			f.t.Fatalf("told of %+v", all)
		}
		return all[0]
	case <-time.After(testPatience):
		f.t.Fatalf("no version has come: %v", f.logs.All())
	}
	return s
}

// logged waits until a line of the log has the text, in its message or error.
func (f *following) logged(text string) {
	f.t.Helper()
	eventually(f.t, func() bool {
		for _, l := range f.logs.All() {
			if err, _ := l.ContextMap()["error"].(string); strings.Contains(l.Message+": "+err, text) {
				return true
			}
		}
		return false
	})
}

// A channel is followed by its link: each release comes at once, an older one is
// refused after a restart too, and each hook runs once.
func TestFollowChannel(t *testing.T) {
	master, at := newMaster(t)
	_, item := publishFile(t, master.Node, "first")
	old, err := manifest.OpenItem(master.signing.Public(), item)
	if err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	hook, ran, dir := filepath.Join(tmp, "hook.sh"), filepath.Join(tmp, "ran"), filepath.Join(tmp, "to")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\ncat \"$3\" >> "+ran+"\necho >> "+ran+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	file, link, here := filepath.Join(dir, "site.txt"), master.channelLink("web"), freeAddr(t)
	begin := func(node string) *following {
		return follow(t, link, dir, func(o *FetchOptions) {
			o.DHT.Nodes, o.Listen, o.Hooks.Whole = []string{node}, here, hook
		})
	}
	f := begin(at)
	if s := f.comes(); s.Serial != 1 {
		t.Errorf("told of %+v", s)
	}
	wantFile(t, "the first", file, "first")
	publishFile(t, master.Node, "second")
	if s := f.comes(); s.Serial != 2 {
		t.Errorf("told of %+v", s)
	}
	wantFile(t, "the second", file, "second")
	f.stop()

	// With nobody but one who has the older item.
	master.stop()
	hub, hubAt := newHub(t)
	stop, err := hub.finder.dht.Publish(itemForDHT(old))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	f = begin(hubAt)
	f.logged("the DHT has serial 1, which is older than 2")
	wantFile(t, "after an older item", file, "second")
	cfg := master.cfg
	cfg.DHT = []string{here}
	master = startNode(t, cfg)
	publishFile(t, master.Node, "third")
	if s := f.comes(); s.Serial != 3 {
		t.Errorf("told of %+v", s)
	}
	wantFile(t, "the third", file, "third")
	f.stop()
	if got, _ := os.ReadFile(ran); string(got) != "first\nsecond\nthird\n" {
		t.Errorf("the hook has run with %q", got)
	}
}

// Two releases with one serial are not both taken.
func TestFollowChannelTwins(t *testing.T) {
	master, _ := newMaster(t)
	publishFile(t, master.Node, "content")
	one, _ := signedRelease(t, master.Node, func(*manifest.Manifest) {})
	two, _ := signedRelease(t, master.Node, func(m *manifest.Manifest) { m.Created = m.Created.Add(time.Second) })
	from, err := originOf(master.channelLink("web"))
	if err != nil {
		t.Fatal(err)
	}
	c := from.(*channelOrigin)
	f := &fetch{ways: ways{dht: master.finder.dht}}
	for _, it := range []*manifest.Item{one, two} {
		c.heard["web"] = heard{item: it}
		_, changed, err := c.look(t.Context(), f, &followed{Document: one.Encode()})
		if changed || (err != nil) != (it == two) || it == two && !strings.Contains(err.Error(), "two releases with serial 1") {
			t.Errorf("%x: %v, %v", it.Manifest, changed, err)
		}
	}
}
