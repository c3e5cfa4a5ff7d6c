package httpfetch

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// answer is what a server says to a request for bytes [off, off+n): all of it,
// header and body, as it goes over the wire. The connection is closed then.
type answer func(w io.Writer, s *memSink, off, n int64)

// raw makes a server of an answer, past the library that would put it right.
func raw(a answer) func(s *memSink) http.HandlerFunc {
	return func(s *memSink) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			var off, last int64
			if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &off, &last); err != nil {
				panic(err)
			}
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			a(c, s, off, last-off+1)
			_ = c.Close()
		}
	}
}

// partial writes the header of a right answer, with further fields.
func partial(w io.Writer, s *memSink, off, n int64, fields ...string) {
	fmt.Fprintf(w, "HTTP/1.1 206 Partial Content\r\nETag: \"file-0\"\r\nContent-Range: bytes %d-%d/%d\r\n", off, off+n-1, s.lay.Total)
	for _, f := range fields {
		fmt.Fprintf(w, "%s\r\n", f)
	}
	fmt.Fprint(w, "\r\n")
}

// trickle writes slowly, until the reader has gone.
func trickle(w io.Writer, b []byte, every time.Duration) {
	for i := range b {
		time.Sleep(every)
		if _, err := w.Write(b[i : i+1]); err != nil {
			return
		}
	}
}

// flood writes the same without end, until the reader has gone.
func flood(w io.Writer, text string) {
	b := []byte(strings.Repeat(text, 1+(16<<10)/len(text)))
	for {
		if _, err := w.Write(b); err != nil {
			return
		}
	}
}

// silence says nothing until the client hangs up.
func silence(w io.Writer) { _, _ = io.Copy(io.Discard, w.(net.Conn)) }

// rawLiars are the liars that net/http would not be. With slow, the other mirror
// is so slow that it is waited for the liar.
var rawLiars = []liarCase{
	{name: "Content-Length too long", want: "but its range has", handler: raw(func(w io.Writer, s *memSink, off, n int64) {
		partial(w, s, off, n, fmt.Sprintf("Content-Length: %d", n+10))
	})},
	{name: "Content-Length too short", want: "but its range has", handler: raw(func(w io.Writer, s *memSink, off, n int64) {
		partial(w, s, off, n, fmt.Sprintf("Content-Length: %d", n-10))
	})},
	{name: "two Content-Lengths", want: "Content-Length", handler: raw(func(w io.Writer, s *memSink, off, n int64) {
		partial(w, s, off, n, fmt.Sprintf("Content-Length: %d", n), fmt.Sprintf("Content-Length: %d", n+1))
	})},
	{name: "closes in the middle", want: "early", handler: raw(func(w io.Writer, s *memSink, off, n int64) {
		partial(w, s, off, n, fmt.Sprintf("Content-Length: %d", n))
		_, _ = w.Write(s.want[off : off+n/2])
	})},
	{name: "endless trailer", want: "trailer", good: true, handler: raw(func(w io.Writer, s *memSink, off, n int64) {
		partial(w, s, off, n, "Transfer-Encoding: chunked")
		fmt.Fprintf(w, "%x\r\n", n)
		_, _ = w.Write(s.want[off : off+n])
		fmt.Fprint(w, "\r\n0\r\n")
		flood(w, "X-Trailer: yyyyyyyyyyyyyyyy\r\n")
	})},
	{name: "endless chunk header", want: "line too long", handler: raw(func(w io.Writer, s *memSink, off, n int64) {
		partial(w, s, off, n, "Transfer-Encoding: chunked")
		fmt.Fprint(w, "10;")
		flood(w, "x")
	})},
	{name: "chunks of one byte", want: "chunked encoding", handler: raw(func(w io.Writer, s *memSink, off, n int64) {
		partial(w, s, off, n, "Transfer-Encoding: chunked")
		for _, b := range s.want[off : off+n] {
			if _, err := fmt.Fprintf(w, "1;%s\r\n%s\r\n", strings.Repeat("x", 1000), []byte{b}); err != nil {
				return
			}
		}
	})},
	{name: "endless header lines", want: "64 KiB", handler: raw(func(w io.Writer, s *memSink, _, _ int64) {
		fmt.Fprint(w, "HTTP/1.1 206 Partial Content\r\n")
		flood(w, "X-Header: yyyyyyyyyyyyyyyy\r\n")
	})},
	{name: "endless status line", want: "64 KiB", handler: raw(func(w io.Writer, _ *memSink, _, _ int64) { flood(w, "HTTP/1.1 206 ") })},
	{name: "flood of interim answers", want: "interim", handler: raw(func(w io.Writer, _ *memSink, _, _ int64) { flood(w, "HTTP/1.1 100 Continue\r\n\r\n") })},
	{name: "switching protocols", want: "unexpected status 101", handler: raw(func(w io.Writer, _ *memSink, _, _ int64) {
		fmt.Fprint(w, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n")
	})},
	{name: "bytes without a header", want: "malformed", handler: raw(func(w io.Writer, s *memSink, off, n int64) { _, _ = w.Write(s.want[off : off+n]) })},
	{name: "accepts and hangs", want: "no answer for", slow: true, handler: raw(func(w io.Writer, _ *memSink, _, _ int64) { silence(w) })},
	{name: "trickles its header", want: "no answer for", slow: true, handler: raw(func(w io.Writer, _ *memSink, _, _ int64) {
		trickle(w, []byte("HTTP/1.1 206 Partial Content\r\n"+strings.Repeat("X: y\r\n", 100)), time.Second)
	})},
	{name: "trickles its body", want: "less than the", slow: true, handler: raw(func(w io.Writer, s *memSink, off, n int64) {
		partial(w, s, off, n, fmt.Sprintf("Content-Length: %d", n))
		trickle(w, s.want[off:off+n], time.Second)
	})},
	{name: "stops in the body", want: "no byte for", slow: true, handler: raw(func(w io.Writer, s *memSink, off, n int64) {
		partial(w, s, off, n, fmt.Sprintf("Content-Length: %d", n))
		_, _ = w.Write(s.want[off : off+n/2])
		silence(w)
	})},
}
