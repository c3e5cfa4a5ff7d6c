package httpfetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	maxRedirects   = 5
	requestTimeout = 20 * time.Second
	// smallBody is how much of an unwanted body is read to keep a connection.
	smallBody = 32 << 10
)

// Info is what a server tells of a file before it is fetched.
type Info struct {
	Length       int64 // bytes; -1 when the server does not tell
	ETag         string
	LastModified string
	Digest       map[string]string // lower-case hex by "sha-256", "sha-512", "sha-1", "md5"
	Links        []Link            // mirrors and descriptions, RFC 6249
	FinalURL     string            // after redirects
	ContentType  string
	Ranges       bool // the server serves byte ranges
}

// Probe asks what lies at rawurl: by HEAD, and by GET for its first byte where
// HEAD is not served or does not say that ranges are.
func Probe(ctx context.Context, c *Client, rawurl string) (Info, error) {
	u, err := parseBase(rawurl)
	if err != nil {
		return Info{}, err
	}
	info, err := probe(ctx, c, u)
	if err != nil {
		return Info{}, fmt.Errorf("probe %s: %w", displayName(u), err)
	}
	return info, nil
}

func probe(ctx context.Context, c *Client, u *url.URL) (Info, error) {
	resp, final, err := c.do(ctx, http.MethodHead, u, nil)
	if err != nil {
		return Info{}, err
	}
	_ = resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		info := infoOf(resp, final)
		info.Length = resp.ContentLength
		if info.Ranges || info.Length == 0 {
			return info, nil
		}
	}
	resp, final, err = c.do(ctx, http.MethodGet, u, http.Header{"Range": {"bytes=0-0"}})
	if err != nil {
		return Info{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	info := infoOf(resp, final)
	switch resp.StatusCode {
	case http.StatusOK:
		info.Length, info.Ranges = resp.ContentLength, false
		return info, nil
	case http.StatusPartialContent:
		cr, err := parseContentRange(resp.Header.Get("Content-Range"))
		if err != nil {
			return Info{}, err
		}
		info.Length, info.Ranges = cr.size, true
		return info, nil
	case http.StatusRequestedRangeNotSatisfiable:
		// An empty file has no first byte.
		if size, ok := strings.CutPrefix(resp.Header.Get("Content-Range"), "bytes */"); ok && size == "0" {
			info.Length, info.Ranges = 0, true
			return info, nil
		}
	}
	if err := checkStatus(resp, time.Now()); err != nil {
		return Info{}, err
	}
	return Info{}, fmt.Errorf("status %d", resp.StatusCode)
}

func infoOf(resp *http.Response, final *url.URL) Info {
	v := validatorOf(resp.Header)
	shown := *final
	shown.User = nil
	return Info{
		Length: -1, ETag: v.etag, LastModified: v.modified,
		Digest: parseDigests(resp.Header), Links: parseLinks(resp.Header.Values("Link"), final),
		FinalURL: shown.String(), ContentType: clip(resp.Header.Get("Content-Type")),
		Ranges: strings.EqualFold(resp.Header.Get("Accept-Ranges"), "bytes"),
	}
}

// Get writes the document at rawurl to w, in one request, and refuses more than
// limit bytes. It is for small documents and for servers that tell no length.
func Get(ctx context.Context, c *Client, rawurl string, w io.Writer, limit int64) (Info, error) {
	u, err := parseBase(rawurl)
	if err != nil {
		return Info{}, err
	}
	info, err := get(ctx, c, u, nil, w, limit)
	if err != nil {
		return Info{}, fmt.Errorf("get %s: %w", displayName(u), err)
	}
	return info, nil
}

// GetChanged is Get for a document that was read before, when its server told
// the old info: nothing is written, and changed is false, when it says that the
// document is still the same.
func GetChanged(ctx context.Context, c *Client, rawurl string, old Info, w io.Writer, limit int64) (info Info, changed bool, err error) {
	u, err := parseBase(rawurl)
	if err != nil {
		return Info{}, false, err
	}
	h := http.Header{}
	if old.ETag != "" {
		h.Set("If-None-Match", old.ETag)
	}
	if old.LastModified != "" {
		h.Set("If-Modified-Since", old.LastModified)
	}
	info, err = get(ctx, c, u, h, w, limit)
	switch {
	case errors.Is(err, errNotModified):
		return old, false, nil
	case err != nil:
		return Info{}, false, fmt.Errorf("get %s: %w", displayName(u), err)
	}
	return info, true, nil
}

// errNotModified is the answer to a condition that was given.
var errNotModified = errors.New("not modified")

func get(ctx context.Context, c *Client, u *url.URL, h http.Header, w io.Writer, limit int64) (Info, error) {
	resp, final, err := c.do(ctx, http.MethodGet, u, h)
	if err != nil {
		return Info{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusNotModified && len(h) > 0 {
		return Info{}, errNotModified
	}
	if resp.StatusCode != http.StatusOK {
		if err := checkStatus(resp, time.Now()); err != nil {
			return Info{}, err
		}
		return Info{}, faultf(liar, "status %d to a request without a range", resp.StatusCode)
	}
	if e := resp.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return Info{}, faultf(liar, "answer has the content encoding %s, though none was allowed", clip(e))
	}
	if resp.ContentLength > limit {
		return Info{}, faultf(liar, "document has %d bytes, more than the %d allowed", resp.ContentLength, limit)
	}
	n, err := io.Copy(w, io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return Info{}, err
	}
	if n > limit {
		return Info{}, faultf(liar, "document has more than the %d bytes allowed", limit)
	}
	info := infoOf(resp, final)
	info.Length = n
	return info, nil
}

// do sends one request and follows redirects. The connection goes back to the
// client when the response's body is closed.
func (c *Client) do(ctx context.Context, method string, u *url.URL, h http.Header) (*http.Response, *url.URL, error) {
	for range maxRedirects {
		resp, err := c.once(ctx, method, u, h)
		if err != nil {
			return nil, nil, err
		}
		if !isRedirect(resp.StatusCode) {
			return resp, u, nil
		}
		_ = resp.Body.Close()
		if u, err = c.redirected(u, resp.Header.Get("Location")); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, faultf(liar, "more than %d redirects", maxRedirects)
}

func (c *Client) once(ctx context.Context, method string, u *url.URL, h http.Header) (*http.Response, error) {
	for {
		k, err := c.get(ctx, u)
		if err != nil {
			return nil, err
		}
		stop := interrupt(ctx, k)
		if err = k.send(method, u, h, requestTimeout); err == nil {
			var resp *http.Response
			if resp, err = k.receive(method, requestTimeout); err == nil {
				resp.Body = &wholeBody{ReadCloser: resp.Body, c: c, k: k, stop: stop, keep: !resp.Close}
				return resp, nil
			}
		}
		stop()
		_ = k.Close()
		if !k.stale() || ctx.Err() != nil {
			return nil, errors.Join(ctx.Err(), err)
		}
		// A kept connection had been closed by the server: try another.
	}
}

// interrupt closes k when ctx ends, until the function it returns is called,
// which says whether it came first.
func interrupt(ctx context.Context, k *conn) func() bool {
	return context.AfterFunc(ctx, func() { _ = k.Close() })
}

// wholeBody is the body of an answer that is not a part of a download.
type wholeBody struct {
	io.ReadCloser
	c    *Client
	k    *conn
	stop func() bool
	keep bool
	done bool
}

// Read refuses a server that sends nothing for requestTimeout.
func (b *wholeBody) Read(p []byte) (int, error) {
	_ = b.k.SetReadDeadline(time.Now().Add(requestTimeout))
	return b.ReadCloser.Read(p)
}

func (b *wholeBody) Close() error {
	if b.done {
		return nil
	}
	b.done = true
	rest, err := io.CopyN(io.Discard, b, smallBody)
	ended := errors.Is(err, io.EOF) && rest < smallBody
	if b.stop() && ended && b.keep {
		b.k.answers++
		b.c.put(b.k)
		return nil
	}
	return b.k.Close()
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// redirected says where a redirect leads, when it may be followed.
func (c *Client) redirected(from *url.URL, location string) (*url.URL, error) {
	if location == "" || len(location) > maxURL {
		return nil, faultf(liar, "redirect without a usable Location")
	}
	to, err := from.Parse(location)
	if err != nil || to.Host == "" || to.Scheme != "http" && to.Scheme != "https" {
		return nil, faultf(liar, "redirect to %s, which is not an HTTP URL", clip(location))
	}
	if hostKey(from) == hostKey(to) {
		to.User = from.User
		return to, nil
	}
	to.User = nil
	if from.Scheme == "https" && to.Scheme == "http" {
		return nil, faultf(liar, "redirect from https to %s refused", displayName(to))
	}
	if c.cfg.AllowRedirect == nil || !c.cfg.AllowRedirect(from, to) {
		return nil, faultf(liar, "redirect to another host refused: %s", displayName(to))
	}
	return to, nil
}
