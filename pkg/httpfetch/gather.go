package httpfetch

import (
	"bufio"
	"net"
	"time"
)

// A connection over a long path carries little at a time, and with fifty of them
// every packet used to wake a goroutine, which found a part of a TLS record and
// slept again. So the kernel is told to wake the reader for no less than what
// comes in a while, as long as so much is sure to come.

const (
	// rawBuffer is what is read at once from a connection below TLS, whose own
	// reads are of one record each.
	rawBuffer = 32 << 10
	// above is how much of a body may be in buffers above the socket: below TLS, a
	// record, and that of the answers' reader.
	above = rawBuffer + 16<<10 + readBuffer + 12<<10
	// maxGather bounds what is waited for, and gatherTime the time that it takes
	// on a short path; on a long one it is half of a round trip.
	maxGather  = 32 << 10
	gatherTime = 5 * time.Millisecond
)

// gather says how many bytes to wait for when left bytes of a body are still to
// be read, at the given rate: 1, or a power of two, so that it seldom changes.
func gather(left int64, rate float64, rtt time.Duration) int {
	n := min(maxGather, left-above, int64(rate*max(gatherTime, rtt/2).Seconds()))
	k := 1
	for int64(2*k) <= n {
		k *= 2
	}
	if k < 4<<10 {
		return 1
	}
	return k
}

// gather is called before a part of a body is read.
func (k *conn) gather(left int64, rate float64) {
	if n := gather(left, rate, k.rtt); k.raw != nil && n != k.lowat {
		setLowat(k.raw, n)
		k.lowat = n
	}
}

// bufferedConn is a connection whose small reads come from a buffer.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

func withBuffer(c net.Conn) net.Conn {
	return &bufferedConn{Conn: c, r: bufio.NewReaderSize(c, rawBuffer)}
}
