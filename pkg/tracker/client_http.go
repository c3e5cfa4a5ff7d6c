package tracker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// announceHTTP asks an HTTP tracker (BEP 3).
func announceHTTP(ctx context.Context, client *http.Client, u *url.URL, r *Request) (*Response, error) {
	full := *u
	full.RawQuery = r.query(u.RawQuery)
	full.Fragment = ""
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, full.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // its text has the whole query in it
		}
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // was read to its end or is given up
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if len(body) > maxResponse {
		return nil, fmt.Errorf("answer is longer than %d bytes", maxResponse)
	}
	parsed, err := parseResponse(body)
	var refused *FailureError
	if resp.StatusCode == http.StatusOK || errors.As(err, &refused) {
		return parsed, err
	}
	return nil, &statusError{resp.StatusCode, retryAfter(resp.Header)}
}

// statusError is an HTTP status that is no answer.
type statusError struct {
	code    int
	retryIn time.Duration // of a Retry-After header; 0: none
}

func (e *statusError) Error() string {
	return fmt.Sprintf("HTTP status %d %s", e.code, http.StatusText(e.code))
}

func retryAfter(h http.Header) time.Duration {
	n, ok := parseUint(h.Get("Retry-After"))
	if !ok {
		return 0
	}
	return time.Duration(min(n, maxWaitSeconds)) * time.Second
}

// query appends the announce to the query that the tracker's address has.
func (r *Request) query(old string) string {
	b := make([]byte, 0, len(old)+320)
	if old != "" {
		b = append(append(b, old...), '&')
	}
	b = append(b, "info_hash="...)
	b = appendEscaped(b, string(r.InfoHash[:]))
	b = append(b, "&peer_id="...)
	b = appendEscaped(b, string(r.PeerID[:]))
	b = strconv.AppendUint(append(b, "&port="...), uint64(r.Port), 10)
	b = strconv.AppendInt(append(b, "&uploaded="...), max(r.Stats.Uploaded, 0), 10)
	b = strconv.AppendInt(append(b, "&downloaded="...), max(r.Stats.Downloaded, 0), 10)
	left := r.Stats.Left
	if left < 0 {
		left = 1<<63 - 1 // unknown, and certainly not a seed
	}
	b = strconv.AppendInt(append(b, "&left="...), left, 10)
	b = append(b, "&compact=1&no_peer_id=1"...)
	if r.NumWant >= 0 {
		b = strconv.AppendInt(append(b, "&numwant="...), int64(r.NumWant), 10)
	}
	b = append(b, "&key="...)
	b = strconv.AppendUint(b, uint64(r.Key), 16)
	if r.Event != EventNone {
		b = append(append(b, "&event="...), r.Event.String()...)
	}
	if r.trackerID != "" {
		b = append(b, "&trackerid="...)
		b = appendEscaped(b, r.trackerID)
	}
	return string(b)
}

// appendEscaped escapes all bytes but RFC 3986's unreserved ones, the form that
// every tracker takes.
func appendEscaped(b []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			c == '-', c == '.', c == '_', c == '~':
			b = append(b, c)
		default:
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return b
}
