package serve

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"distd/internal/names"
)

// serveChannel answers /channels/NAME/latest.json and its signature; rest
// begins with the channel's name.
func (s *Server) serveChannel(w *response, r *http.Request, rest string) {
	channel, file, _ := strings.Cut(rest, "/")
	if names.Channel(channel) != nil || (file != "latest.json" && file != "latest.json.minisig") {
		w.fail(http.StatusNotFound, "a channel has /channels/NAME/latest.json and latest.json.minisig")
		return
	}
	data, sig, err := s.cfg.Catalog.Pointer(channel)
	if err != nil {
		s.failErr(w, r, err, "this node does not have the channel")
		return
	}
	ctype := typeJSON
	if file != "latest.json" {
		data, ctype = sig, typeText
	}
	w.Header().Set("Cache-Control", cacheCheck)
	sendBytes(w, r, newDocument(data), ctype, time.Time{})
}

func (s *Server) serveKey(w *response, r *http.Request) {
	key := s.cfg.Catalog.PublicKey()
	if len(key) == 0 {
		w.fail(http.StatusNotFound, "the publisher's key is not known here yet")
		return
	}
	w.Header().Set("Cache-Control", cacheCheck)
	sendBytes(w, r, newDocument(key), typeText, time.Time{})
}

// serveOps answers the pages for operators and their machines.
func (s *Server) serveOps(w *response, r *http.Request, path string) {
	w.Header().Set("Cache-Control", cacheNever)
	switch path {
	case "/healthz":
		answerCheck(w, s.cfg.Healthy)
	case "/readyz":
		answerCheck(w, s.cfg.Ready)
	case "/metrics":
		if s.promH == nil {
			w.fail(http.StatusNotFound, "metrics are not served here")
			return
		}
		s.promH.ServeHTTP(w, r)
	default:
		s.serveStatus(w)
	}
}

func answerCheck(w *response, check func() error) {
	if check != nil {
		if err := check(); err != nil {
			w.fail(http.StatusServiceUnavailable, err.Error())
			return
		}
	}
	w.Header().Set("Content-Type", typeText)
	_, _ = w.Write([]byte("ok\n"))
}

func (s *Server) serveStatus(w *response) {
	var v any = struct{}{}
	if s.cfg.Status != nil {
		v = s.cfg.Status()
	}
	b, err := json.Marshal(v)
	if err != nil {
		s.log.Error("status cannot be written as JSON: " + err.Error())
		w.fail(http.StatusInternalServerError, "the status cannot be shown; the log says why")
		return
	}
	w.Header().Set("Content-Type", typeJSON)
	_, _ = w.Write(append(b, '\n'))
}
