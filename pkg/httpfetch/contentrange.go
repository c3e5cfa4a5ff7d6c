package httpfetch

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxRetryAfter bounds how long a mirror can have itself left alone.
const maxRetryAfter = time.Hour

// contentRange is a Content-Range of a 206 (RFC 9110 section 14.4): the bytes
// [first, last] of a representation of size bytes.
type contentRange struct {
	first, last, size int64
}

// parseContentRange reads "bytes first-last/size". A size that is not told
// ("*") is refused: nothing could be checked against it.
func parseContentRange(s string) (contentRange, error) {
	bad := func() (contentRange, error) {
		return contentRange{}, fmt.Errorf("Content-Range %.80q is not of the form \"bytes FIRST-LAST/SIZE\"", s)
	}
	unit, rest, ok := strings.Cut(s, " ")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return bad()
	}
	span, size, ok := strings.Cut(rest, "/")
	if !ok {
		return bad()
	}
	first, last, ok := strings.Cut(span, "-")
	if !ok {
		return bad()
	}
	var r contentRange
	for _, p := range []struct {
		text string
		to   *int64
	}{{first, &r.first}, {last, &r.last}, {size, &r.size}} {
		n, err := digits(p.text)
		if err != nil {
			return bad()
		}
		*p.to = n
	}
	if r.first > r.last || r.last >= r.size {
		return bad()
	}
	return r, nil
}

// digits reads a number of nothing but digits, of at most 18 of them.
func digits(s string) (int64, error) {
	if s == "" || len(s) > 18 {
		return 0, strconv.ErrRange
	}
	var n int64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, strconv.ErrSyntax
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, nil
}

// parseRetryAfter reads a Retry-After header: seconds, or a date. It is zero
// when there is none or it is not valid.
func parseRetryAfter(s string, now time.Time) time.Duration {
	if n, err := digits(s); err == nil {
		return time.Duration(min(n, int64(maxRetryAfter/time.Second))) * time.Second
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(0, min(t.Sub(now), maxRetryAfter))
	}
	return 0
}
