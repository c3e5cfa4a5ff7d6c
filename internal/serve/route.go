package serve

import (
	"errors"
	"io/fs"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

// Route names, as they appear in metrics.
const (
	routeChannel = "channel"
	routeRelease = "release"
	routeContent = "content"
	routeTorrent = "torrent"
	routeEvents  = "events"
	routeTracker = "tracker"
	routeOps     = "ops"
	routeKey     = "key"
	routeNone    = "none"
)

// Values of Cache-Control.
const (
	cacheForever = "public, max-age=31536000, immutable"
	cacheCheck   = "no-cache"
	cacheNever   = "no-store"
)

func (s *Server) serveHTTP(rw http.ResponseWriter, r *http.Request) {
	w := newResponse(rw, r, s)
	s.metrics.inFlight.Inc()
	defer func() {
		p := recover()
		if err, _ := p.(error); p != nil && !errors.Is(err, http.ErrAbortHandler) {
			s.log.Error("panic while answering a request", zap.String("path", r.URL.Path), zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			if w.code == 0 {
				w.fail(http.StatusInternalServerError, "internal error")
				p = nil
			}
		}
		w.finish()
		s.metrics.inFlight.Dec()
		if p != nil {
			panic(http.ErrAbortHandler) // the client must not take half an answer for a whole one
		}
	}()
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if !admit(w, r) {
		return
	}
	s.route(w, r)
}

// admit refuses what no page of the tree takes: methods that change things and
// requests with a body, which would have to be read to the end.
func admit(w *response, r *http.Request) bool {
	hasBody := r.ContentLength != 0
	if hasBody {
		// The standard server reads on in the body behind the handler's
		// back; a client that holds it back must not hold the connection.
		_ = w.rc.SetReadDeadline(time.Now().Add(time.Second))
		if r.ProtoMajor == 1 { // in HTTP/2 it would end the other requests too, and cut the answer off for some clients
			w.Header().Set("Connection", "close")
		}
	}
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		w.fail(http.StatusMethodNotAllowed, "only GET and HEAD are served here")
	case hasBody:
		w.fail(http.StatusRequestEntityTooLarge, "a request with a body is not taken here")
	default:
		return true
	}
	return false
}

func (s *Server) route(w *response, r *http.Request) {
	path := r.URL.Path
	if rest, ok := strings.CutPrefix(path, "/releases/"); ok {
		s.serveRelease(w, r, rest)
		return
	}
	if rest, ok := strings.CutPrefix(path, "/channels/"); ok {
		w.route = routeChannel
		s.serveChannel(w, r, rest)
		return
	}
	switch path {
	case "/v1/events":
		w.route = routeEvents
		s.serveEvents(w, r)
	case "/announce", "/scrape":
		w.route = routeTracker
		if s.cfg.Tracker == nil {
			w.fail(http.StatusNotFound, "there is no tracker on this node")
			return
		}
		s.cfg.Tracker.ServeHTTP(w, r)
	case "/publish.pub":
		w.route = routeKey
		s.serveKey(w, r)
	case "/v1/status", "/healthz", "/readyz", "/metrics":
		w.route = routeOps
		s.serveOps(w, r, path)
	default:
		s.servePlain(w, r, strings.TrimPrefix(path, "/"))
	}
}

// failErr answers for an error of the catalog or the disk.
func (s *Server) failErr(w *response, r *http.Request, err error, missing string) {
	if errors.Is(err, fs.ErrNotExist) {
		w.fail(http.StatusNotFound, missing)
		return
	}
	s.log.Error("cannot serve a path", zap.String("path", r.URL.Path), zap.Error(err))
	w.fail(http.StatusInternalServerError, "the node cannot read this; its log says why")
}

// notYet answers for content that is still being fetched.
func (s *Server) notYet(w *response, what string) {
	w.Header().Set("Retry-After", retryAfter(s.cfg.RetryAfter))
	w.fail(http.StatusServiceUnavailable, what)
}

func retryAfter(d time.Duration) string {
	return strconv.Itoa(int(max(1, (d+time.Second-1)/time.Second)))
}
