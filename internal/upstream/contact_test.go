package upstream

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestContact: the client knows since when its upstream is there or not, and
// why, and says each reason once.
func TestContact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		s := &stream{out: make(chan string)} // no channel yet
		w := newWeb(t, s.ServeHTTP)
		client := w.client(t, Options{Log: zap.New(core)})
		if _, ok := client.Contact(); ok {
			t.Error("contact before there was any")
		}
		_, stop := watching(t, client)
		synctest.Wait()
		begin := time.Now()
		if c, ok := client.Contact(); !ok || c.Err != nil || !c.Since.Equal(begin) {
			t.Errorf("an upstream without channels is followed, but: %+v, %v", c, ok)
		}
		time.Sleep(5 * time.Second)
		_ = w.Close()
		w.cut()
		synctest.Wait()
		lost := time.Now()
		time.Sleep(10 * time.Minute)
		if c, _ := client.Contact(); !errors.Is(c.Err, io.ErrClosedPipe) || !c.Since.Equal(lost) {
			t.Errorf("an upstream that is down since %v: %+v", lost, c)
		}
		// The broken stream, then the refused connections.
		if n := logs.Len(); n != 2 {
			t.Errorf("%d lines: %v", n, logs.All())
		}
		_ = stop()
	})
	synctest.Test(t, func(t *testing.T) { // without events, the polls tell
		var status atomic.Int32
		status.Store(http.StatusBadGateway)
		w := newWeb(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/tree/v1/events" {
				http.NotFound(w, r)
				return
			}
			w.WriteHeader(int(status.Load()))
			_, _ = io.WriteString(w, "{}")
		})
		client := w.client(t, Options{})
		_, stop := watching(t, client, "web")
		synctest.Wait()
		if c, ok := client.Contact(); !ok || c.Err == nil {
			t.Errorf("polls that fail: %+v", c)
		}
		status.Store(http.StatusOK)
		time.Sleep(15 * time.Second)
		if c, _ := client.Contact(); c.Err != nil {
			t.Errorf("polls that work: %+v", c)
		}
		_ = stop()
	})
}

func TestWithoutPorts(t *testing.T) {
	text := func(port int) string {
		return withoutPorts(fmt.Sprintf("read tcp 10.0.0.1:%d->[fe80::1]:8443: connection reset by peer", port))
	}
	if text(1) != text(60000) {
		t.Errorf("%q differs from %q", text(1), text(60000))
	}
}
