package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"distd/internal/config"
	"distd/internal/manifest"
	"distd/internal/publish"
	"distd/internal/store"
	"distd/pkg/httpfetch"
)

func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{errors.New("x"), ExSoftware},
		{fmt.Errorf("a: %w", store.ErrLocked), ExTempFail},
		{fmt.Errorf("a: %w", ErrNoDaemon), ExUnavailable},
		{fmt.Errorf("a: %w", manifest.ErrSignature), ExDataErr},
		{&fs.PathError{Op: "write", Path: "/x", Err: syscall.ENOSPC}, ExIOErr},
		{&fs.PathError{Op: "open", Path: "/x", Err: syscall.EACCES}, ExNoPerm},
		{&fs.PathError{Op: "open", Path: "/x", Err: syscall.ENOENT}, ExNoInput},
		{&codedError{ExDataErr, errors.New("over the socket")}, ExDataErr},
		{coded(ExDataErr, errors.New("x")), ExDataErr},
		{coded(ExDataErr, fmt.Errorf("a: %w", syscall.ENOSPC)), ExIOErr},
		{fmt.Errorf("a: %w", store.ErrNoPrevious), ExUnavailable},
		{fmt.Errorf("a: %w", publish.ErrBusy), ExTempFail},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, ExUnavailable},
		{&net.OpError{Op: "listen", Err: syscall.EADDRNOTAVAIL}, ExConfig},
		{fmt.Errorf("a: %w", &httpfetch.GiveUpError{}), ExUnavailable},
	} {
		if got := ExitCode(c.err); got != c.want {
			t.Errorf("%v: exit code %d, want %d", c.err, got, c.want)
		}
	}
}

func TestPublishOptions(t *testing.T) {
	cfg := &config.Config{PublicURL: "https://m", Announce: []string{"http://t/announce"}, Mirror: []string{"external 90 https://cdn/x"}}
	o, err := PublishOptions(cfg, PublishRequest{Channel: "web", Path: "/x"})
	if err != nil || o.PublicURL != "https://m" || len(o.Trackers) != 1 || len(o.Mirrors) != 1 || o.Mirrors[0].Preference != 90 || o.Mirrors[0].Location != "external" {
		t.Errorf("what the master is configured with is not taken over: %+v, %v", o, err)
	}
	o, err = PublishOptions(cfg, PublishRequest{Channel: "web", Announce: []string{"udp://a/1", "udp://b/2"}, Mirrors: []string{"https://only/y"}})
	if err != nil || len(o.Trackers) != 2 || len(o.Mirrors) != 1 || o.Mirrors[0].URL != "https://only/y" {
		t.Errorf("what the request says does not win: %+v, %v", o, err)
	}
	for _, r := range []PublishRequest{{Channel: "No Way"}, {Channel: "web", Mirrors: []string{"not a url"}}} {
		if _, err := PublishOptions(nil, r); err == nil {
			t.Errorf("%+v accepted", r)
		}
	}
}

// TestControlSocketOfALongPath: the path of a socket is limited to some 100
// bytes; that of a node's folder is not.
func TestControlSocketOfALongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40))
	if err := os.MkdirAll(filepath.Join(dir, controlDir), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := DialControl(dir); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("without a daemon: %v", err)
	}
	for range 2 { // a socket that was left behind is replaced
		ln, err := listenControl(dir)
		if err != nil {
			t.Fatal(err)
		}
		accepted := make(chan error, 1)
		go func() {
			c, err := ln.Accept()
			if err == nil {
				err = c.Close()
			}
			accepted <- err
		}()
		if _, err := DialControl(dir); err != nil {
			t.Error(err)
		}
		if err := <-accepted; err != nil {
			t.Error(err)
		}
		if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}
}

func TestWantEndsWithTheContext(t *testing.T) {
	k := newKeeper(newNode(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 * cap(k.wanted) {
		k.want(ctx, "x") // nobody takes it: this must not block
	}
}
