package httpfetch

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

const (
	// maxHeader bounds the header of one answer, and maxInterim the 1xx answers
	// before it.
	maxHeader  = 64 << 10
	maxInterim = 5
	readBuffer = 4 << 10
)

var errHeaderSize = errors.New("header of the answer is over 64 KiB")

// conn is one HTTP/1.1 connection. It is used by one goroutine at a time;
// Close may be called by any.
type conn struct {
	net.Conn
	br    *bufio.Reader
	src   *boundedReader
	raw   syscall.RawConn // of the socket; nil where there is none
	lowat int             // that it is set to, see gather
	key   string          // hostKey of what it is for
	rtt   time.Duration   // of the TCP handshake
	agent string
	auth  func(*url.URL) *url.Userinfo
	// answers counts those read to their end, and kept says that the connection
	// has been idle: one that dies before its next answer, or after it was idle
	// since it was made, was closed by the server in the meantime.
	answers int
	kept    bool
	expire  *time.Timer // while idle in a Client

	viaProxy  bool   // requests are in absolute form
	proxyAuth string // Proxy-Authorization for them
}

// stale says that the connection's end may have nothing to do with the request.
func (k *conn) stale() bool { return k.answers > 0 || k.kept }

// boundedReader fails once more than left bytes were read; a negative left is no
// bound.
type boundedReader struct {
	r    io.Reader
	left int
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errHeaderSize
	}
	if b.left > 0 && len(p) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.Read(p)
	if b.left > 0 {
		b.left -= n
	}
	return n, err
}

func newConn(raw net.Conn, key string, rtt time.Duration) *conn {
	k := &conn{key: key, rtt: rtt, lowat: 1}
	if s, ok := raw.(syscall.Conn); ok {
		k.raw, _ = s.SyscallConn() // without one it does without
	}
	k.wrap(raw)
	return k
}

// wrap puts the connection on another, which lies above the one it had.
func (k *conn) wrap(c net.Conn) {
	k.Conn = c
	k.src = &boundedReader{r: c, left: -1}
	k.br = bufio.NewReaderSize(k.src, readBuffer)
}

// send writes one request.
func (k *conn) send(method string, u *url.URL, h http.Header, timeout time.Duration) error {
	var b bytes.Buffer
	target := u.RequestURI()
	if k.viaProxy {
		target = u.Scheme + "://" + u.Host + target
	}
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nAccept-Encoding: identity\r\n", method, target, u.Host, k.agent)
	user := u.User
	if user == nil && k.auth != nil {
		user = k.auth(u)
	}
	if auth := basicAuth(user); auth != "" {
		fmt.Fprintf(&b, "Authorization: %s\r\n", auth)
	}
	if k.proxyAuth != "" {
		fmt.Fprintf(&b, "Proxy-Authorization: %s\r\n", k.proxyAuth)
	}
	if err := h.Write(&b); err != nil {
		return err
	}
	b.WriteString("\r\n")
	_ = k.SetWriteDeadline(time.Now().Add(timeout))
	_, err := k.Write(b.Bytes())
	return err
}

// receive reads the header of the next answer; its body is read through the
// response's Body. The header must be there within the timeout.
func (k *conn) receive(method string, timeout time.Duration) (*http.Response, error) {
	_ = k.SetReadDeadline(time.Now().Add(timeout)) // fails as the read will
	k.src.left = maxHeader
	defer func() { k.src.left = -1 }()
	for range maxInterim {
		resp, err := http.ReadResponse(k.br, &http.Request{Method: method})
		if errors.Is(err, errHeaderSize) {
			return nil, &fault{class: liar, err: errHeaderSize}
		}
		if err != nil {
			return nil, fmt.Errorf("answer: %w", err)
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			return resp, nil
		}
	}
	return nil, faultf(liar, "more than %d interim answers", maxInterim)
}

// connect asks a proxy for a tunnel to addr.
func (k *conn) connect(addr, auth string, timeout time.Duration) error {
	h := http.Header{}
	if auth != "" {
		h.Set("Proxy-Authorization", auth)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", addr, addr)
	if err := h.Write(&b); err != nil {
		return err
	}
	b.WriteString("\r\n")
	_ = k.SetWriteDeadline(time.Now().Add(timeout))
	if _, err := k.Write(b.Bytes()); err != nil {
		return err
	}
	resp, err := k.receive(http.MethodConnect, timeout)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("CONNECT %s: status %d", addr, resp.StatusCode)
	}
	if k.br.Buffered() > 0 {
		return errors.New("proxy sent bytes before the tunnel was used")
	}
	return nil
}

func basicAuth(u *url.Userinfo) string {
	if u == nil {
		return ""
	}
	pw, _ := u.Password()
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+pw))
}
