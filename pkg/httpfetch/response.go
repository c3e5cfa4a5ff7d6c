package httpfetch

import (
	"net/http"
	"strings"
	"time"
)

// validator is what tells one version of a file from another.
type validator struct {
	etag     string
	modified string // Last-Modified as sent
}

func validatorOf(h http.Header) validator {
	return validator{etag: h.Get("ETag"), modified: h.Get("Last-Modified")}
}

// strong says whether the ETag stands for the very bytes.
func (v validator) strong() bool { return len(v.etag) >= 2 && v.etag[0] == '"' }

// ifRange is the If-Range header to send, or "" when nothing fits for one.
func (v validator) ifRange() string {
	if v.strong() {
		return v.etag
	}
	if v.etag == "" {
		return v.modified
	}
	return "" // a weak ETag must not be used, nor a date beside it
}

// differs says what of the answer's validator shows another version than v, or
// "". A 206 may leave out Last-Modified, but never the ETag.
func (v validator) differs(now validator) string {
	switch {
	case v.etag != "" && now.etag != v.etag:
		return "ETag was " + clip(v.etag) + " and is now " + clip(now.etag)
	case v.modified != "" && now.modified != "" && now.modified != v.modified:
		return "Last-Modified was " + clip(v.modified) + " and is now " + clip(now.modified)
	}
	return ""
}

// clip shortens foreign text for a message.
func clip(s string) string {
	if s == "" {
		return "missing"
	}
	if len(s) > 100 {
		s = s[:100] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

// wanted is what an answer has to be.
type wanted struct {
	off, n, size int64 // bytes [off, off+n) of a file of size bytes
	known        validator
	noRanges     bool // the mirror is known to serve whole files only
}

// checkResponse refuses every answer but the very range that was asked for, or
// the whole file from a server without ranges. Its errors are faults.
func checkResponse(resp *http.Response, w wanted, now time.Time) error {
	h := resp.Header
	if err := checkStatus(resp, now); err != nil {
		return err
	}
	if e := h.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return faultf(liar, "answer has the content encoding %s, though none was allowed", clip(e))
	}
	if d := w.known.differs(validatorOf(h)); d != "" {
		return faultf(liar, "file changed while it was fetched: %s", d)
	}
	if resp.StatusCode == http.StatusOK {
		return checkWhole(resp, w)
	}
	if n := len(h.Values("Content-Range")); n != 1 {
		return faultf(liar, "answer 206 has %d Content-Range headers, not 1", n)
	}
	cr, err := parseContentRange(h.Get("Content-Range"))
	if err != nil {
		return &fault{class: liar, err: err}
	}
	if cr.size != w.size {
		return faultf(liar, "file has %d bytes here, not %d", cr.size, w.size)
	}
	if cr.first != w.off || cr.last != w.off+w.n-1 {
		return faultf(liar, "answer has bytes %d-%d, not %d-%d as asked", cr.first, cr.last, w.off, w.off+w.n-1)
	}
	if resp.ContentLength >= 0 && resp.ContentLength != w.n {
		return faultf(liar, "answer has %d bytes, but its range has %d", resp.ContentLength, w.n)
	}
	return nil
}

// checkStatus lets 206 and 200 pass.
func checkStatus(resp *http.Response, now time.Time) error {
	switch c := resp.StatusCode; {
	case c == http.StatusPartialContent || c == http.StatusOK:
		return nil
	case c == http.StatusTooManyRequests || c == http.StatusServiceUnavailable:
		f := faultf(busy, "mirror is busy: status %d", c)
		f.wait = parseRetryAfter(resp.Header.Get("Retry-After"), now)
		return f
	case c == http.StatusRequestedRangeNotSatisfiable:
		return faultf(liar, "range refused (status 416): the file is another one here (Content-Range %s)", clip(resp.Header.Get("Content-Range")))
	case c == http.StatusRequestTimeout || c >= 500:
		return faultf(soft, "status %d", c)
	case c >= 400:
		f := faultf(absent, "status %d %s", c, http.StatusText(c))
		f.status = c
		return f
	default:
		return faultf(liar, "unexpected status %d", c)
	}
}

// checkWhole judges a 200.
func checkWhole(resp *http.Response, w wanted) error {
	if w.off != 0 || w.n != w.size {
		return faultf(liar, "server ignores ranges: it answers 200 with the entire file")
	}
	if !w.noRanges && strings.EqualFold(resp.Header.Get("Accept-Ranges"), "bytes") {
		return faultf(liar, "answer is 200, though the server says that it serves ranges")
	}
	if resp.ContentLength >= 0 && resp.ContentLength != w.size {
		return faultf(liar, "file has %d bytes here, not %d", resp.ContentLength, w.size)
	}
	return nil
}
