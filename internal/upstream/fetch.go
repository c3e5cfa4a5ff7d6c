package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"distd/internal/manifest"
)

// Errors that callers tell apart. A file that the upstream does not have is
// reported by an error that wraps fs.ErrNotExist.
var (
	// ErrRedirect: the upstream redirects to another server.
	ErrRedirect = errors.New("redirect refused")
	// ErrTooLarge: a body is larger than what it may be.
	ErrTooLarge = errors.New("too large")
	// ErrStalled: a body brings nothing, or too little, for too long.
	ErrStalled = errors.New("too slow")
)

// StatusError is an answer with another status than the ones asked for.
type StatusError struct {
	URL  string
	Code int
	// Text is the first line of the answer, in printable characters.
	Text string
	// RetryAfter is what the upstream asks to wait; zero: nothing said.
	RetryAfter time.Duration
}

// Error says what was asked and what came.
func (e *StatusError) Error() string {
	s := fmt.Sprintf("GET %s: status %d", e.URL, e.Code)
	if e.Text != "" {
		s += " (" + e.Text + ")"
	}
	return s
}

// Is makes a missing file an fs.ErrNotExist, and one that is larger than what the
// question allowed ErrTooLarge.
func (e *StatusError) Is(target error) bool {
	if target == ErrTooLarge {
		return e.Code == http.StatusRequestEntityTooLarge
	}
	return target == fs.ErrNotExist && (e.Code == http.StatusNotFound || e.Code == http.StatusGone)
}

// slowest is the rate, in bytes a second, at which a large body must come on
// the whole.
const slowest = 32 << 10

// answer is a body with its tag. With notModified there is no body.
type answer struct {
	body        []byte
	etag        string
	notModified bool
}

// question is how a file is asked for.
type question struct {
	etag  string // read it only when it is another one
	limit int64  // bytes, at most
	// all takes the file only when all of it is within the limit, and has the
	// upstream send no more than that where it is not.
	all bool
}

// get reads the file at u, of at most limit bytes. With an etag it is read
// only when it is another one.
func (c *Client) get(ctx context.Context, u *url.URL, etag string, limit int64) (*answer, error) {
	return c.ask(ctx, u, question{etag: etag, limit: limit})
}

func (c *Client) ask(ctx context.Context, u *url.URL, q question) (*answer, error) {
	total := c.opts.Timeout + time.Duration(q.limit/slowest)*time.Second
	ctx, done := context.WithTimeoutCause(ctx, total, fmt.Errorf("%w: not done after %v", ErrStalled, total))
	defer done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := c.do(ctx, u, q)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusNotModified && q.etag != "" {
		return &answer{etag: q.etag, notModified: true}, nil
	}
	if q.all && resp.StatusCode == http.StatusPartialContent {
		if err := checkAll(resp, u, q.limit); err != nil {
			return nil, err
		}
	} else if err := checkAnswer(resp, u); err != nil {
		return nil, err
	}
	stall := time.AfterFunc(c.opts.Stall, func() {
		cancel(fmt.Errorf("%w: nothing came for %v", ErrStalled, c.opts.Stall))
	})
	defer stall.Stop()
	b, err := readBody(resp, q.limit, func() { stall.Reset(c.opts.Stall) })
	if err != nil {
		return nil, explain(ctx, u, err)
	}
	return &answer{body: b, etag: resp.Header.Get("ETag")}, nil
}

func (c *Client) do(ctx context.Context, u *url.URL, q question) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", u.Redacted(), err)
	}
	req.Header.Set("User-Agent", c.opts.UserAgent)
	req.Header.Set("Accept-Encoding", "identity")
	c.authenticate(req)
	if q.etag != "" {
		req.Header.Set("If-None-Match", q.etag)
	}
	if q.all {
		// A distd sends all or nothing, other servers the first bytes.
		req.Header.Set(manifest.HeaderAtMost, strconv.FormatInt(q.limit, 10))
		req.Header.Set("Range", fmt.Sprintf("bytes=0-%d", q.limit-1))
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, explain(ctx, u, err)
	}
	return resp, nil
}

// authenticate adds user and password. They are in no URL, so that no error, log
// or redirect can show them.
func (c *Client) authenticate(req *http.Request) {
	user := c.user
	if user == nil && c.opts.Auth != nil {
		user = c.opts.Auth(req.URL)
	}
	if user != nil {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
	}
}

// explain says what went wrong in one line: the cause of the end of ctx when
// that is why, and the URL once.
func explain(ctx context.Context, u *url.URL, err error) error {
	var ue *url.Error
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	} else if errors.As(err, &ue) {
		err = ue.Err
	}
	return fmt.Errorf("GET %s: %w", u.Redacted(), err)
}

func checkAnswer(resp *http.Response, u *url.URL) error {
	if resp.StatusCode != http.StatusOK {
		line := make([]byte, 200)
		n, _ := io.ReadFull(resp.Body, line)
		return &StatusError{URL: u.Redacted(), Code: resp.StatusCode, Text: firstLine(line[:n]), RetryAfter: retryAfter(resp.Header)}
	}
	if enc := resp.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return fmt.Errorf("GET %s: the answer is encoded as %.40q, which was not asked for", u.Redacted(), enc)
	}
	return nil
}

// checkAll says whether an answer with the first bytes has all of them.
func checkAll(resp *http.Response, u *url.URL, limit int64) error {
	var last, size int64
	if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes 0-%d/%d", &last, &size); err != nil {
		return fmt.Errorf("GET %s: an answer with the range %.40q, which was not asked for", u.Redacted(), resp.Header.Get("Content-Range"))
	}
	if last != size-1 || size > limit {
		return fmt.Errorf("GET %s: %w: %d bytes, at most %d are taken", u.Redacted(), ErrTooLarge, size, limit)
	}
	if resp.ContentLength >= 0 && resp.ContentLength != size {
		return fmt.Errorf("GET %s: %d bytes of an answer with %d", u.Redacted(), resp.ContentLength, size)
	}
	return nil
}

func firstLine(b []byte) string {
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return -1
		}
		return r
	}, line))
}

// retryAfter reads the header, seconds or a date, up to an hour.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		return min(time.Duration(n)*time.Second, time.Hour)
	}
	if t, err := http.ParseTime(text); err == nil {
		return max(0, min(time.Until(t), time.Hour))
	}
	return 0
}

// readBody reads to the end, but not more than limit bytes. It calls alive
// after each read.
func readBody(resp *http.Response, limit int64, alive func()) ([]byte, error) {
	if resp.ContentLength > limit {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are taken", ErrTooLarge, resp.ContentLength, limit)
	}
	b, err := io.ReadAll(io.LimitReader(readerFunc(func(p []byte) (int, error) {
		n, err := resp.Body.Read(p)
		alive()
		return n, err
	}), limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	return b, err
}

type readerFunc func(p []byte) (int, error)

// Read calls f.
func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
