package serve

import (
	"io"
	"net/http"
	"strconv"
	"time"
)

// stallChunk is how much a client must take within the stall time. It is sent
// in one go, so that sendfile(2) still works on long stretches.
const stallChunk = 256 << 10

// response is the writer handed to all pages. It moves the write deadline
// along while bytes flow, so that a long download lives and a stalled one
// ends, and counts. ReadFrom keeps the standard library's way to sendfile(2).
type response struct {
	http.ResponseWriter
	rc    *http.ResponseController
	s     *Server
	head  bool
	start time.Time
	route string
	code  int
	pace  pace
}

func newResponse(w http.ResponseWriter, r *http.Request, s *Server) *response {
	rw := &response{ResponseWriter: w, rc: http.NewResponseController(w), s: s, head: r.Method == http.MethodHead, start: time.Now(), route: routeNone}
	rw.extend()
	return rw
}

// extend gives the client the stall time again from now. Not every writer has
// deadlines (httptest's recorder); those have nothing to stall on either.
func (w *response) extend() { _ = w.rc.SetWriteDeadline(time.Now().Add(w.s.cfg.WriteStall)) }

// Unwrap lets http.ResponseController reach the server's own writer.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader drops what describes the content when the answer is an error.
func (w *response) WriteHeader(code int) {
	if w.code == 0 {
		w.code = code
	}
	if code >= 400 {
		h := w.Header()
		for _, k := range []string{"Digest", "Repr-Digest", "Link", "ETag", "Last-Modified"} {
			h.Del(k)
		}
		if h.Get("Cache-Control") != cacheNever {
			h.Set("Cache-Control", cacheNever)
		}
	}
	w.ResponseWriter.WriteHeader(code)
}

// Write sends p in steps of stallChunk.
func (w *response) Write(p []byte) (n int, err error) {
	if w.code == 0 {
		w.WriteHeader(http.StatusOK)
	}
	for {
		size, err := w.pace.wait(min(len(p)-n, stallChunk))
		if err != nil {
			return n, err
		}
		part := p[n : n+size]
		w.extend()
		m, err := w.ResponseWriter.Write(part)
		w.count(int64(m))
		n += m
		if err != nil || n >= len(p) {
			return n, err
		}
	}
}

// ReadFrom sends what src has in steps of stallChunk. Each step reaches the
// connection as a limited reader of the file itself, which is the form that
// the standard library sends with sendfile(2).
func (w *response) ReadFrom(src io.Reader) (n int64, err error) {
	if w.code == 0 {
		w.WriteHeader(http.StatusOK)
	}
	limited, ok := src.(*io.LimitedReader)
	if !ok {
		limited = &io.LimitedReader{R: src, N: 1<<63 - 1}
	}
	send, ok := w.ResponseWriter.(io.ReaderFrom)
	if !ok {
		send = copier{w.ResponseWriter}
	}
	for limited.N > 0 {
		size, err := w.pace.wait(int(min(limited.N, stallChunk)))
		if err != nil {
			return n, err
		}
		want := int64(size)
		w.extend()
		m, err := send.ReadFrom(&io.LimitedReader{R: limited.R, N: want})
		w.count(m)
		n += m
		limited.N -= m
		if err != nil || m < want {
			return n, err
		}
	}
	return n, nil
}

// copier reads into a writer that cannot read by itself, such as HTTP/2's.
type copier struct{ w io.Writer }

func (c copier) ReadFrom(src io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{c.w}, src, make([]byte, 64<<10))
}

func (w *response) flush() error {
	w.extend()
	return w.rc.Flush()
}

// Flush makes the writer usable for handlers that look for http.Flusher.
func (w *response) Flush() { _ = w.flush() }

func (w *response) count(n int64) {
	if n > 0 && !w.head {
		w.s.metrics.bytes.WithLabelValues(w.route).Add(float64(n))
	}
}

func (w *response) finish() {
	code := w.code
	if code == 0 {
		code = http.StatusOK
	}
	w.s.metrics.requests.WithLabelValues(w.route, strconv.Itoa(code)).Inc()
	w.extend() // for what is left in buffers
}

// fail answers with a status and one line of text.
func (w *response) fail(code int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", cacheNever)
	h.Del("Content-Length")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text+"\n")
}
