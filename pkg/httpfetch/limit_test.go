package httpfetch

import (
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"distd/internal/limit"
)

// TestLimitChanges: of two limits the lower holds, one that is taken away while
// the download runs holds no more, and every connection is tuned.
func TestLimitChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 8 << 20
		s := single(t, size, 64<<10)
		n := newNet()
		h := n.host(t, "m", good(s))
		var node, channel limit.Bucket
		node.Set(256 << 10)
		channel.Set(128 << 10)
		var tuned atomic.Int32
		f := n.fetcher(t, s, func(c *Config) {
			c.Limiter = limit.All{&channel, &node}
			c.ClientConfig.Tune = func(net.Conn) { tuned.Add(1) }
		}, "m")
		early := make(chan int64, 1)
		time.AfterFunc(16*time.Second, func() {
			early <- channel.Taken()
			channel.Set(0)
		})
		// 2 MiB at 128 KiB/s, then 6 MiB at 256 KiB/s.
		if took := mustRun(t, f, time.Hour); took < 38*time.Second || took > 42*time.Second {
			t.Errorf("took %v, want 40s", took)
		}
		s.check()
		if got := <-early; got < 19<<20/10 || got > 21<<20/10 {
			t.Errorf("%d bytes in 16 s at 128 KiB/s", got)
		}
		// A connection that waits for its turn when another has made the last piece
		// whole gives its turn up: one read each, of the least size at these rates.
		if got := node.Taken(); got < size-int64(h.dialled())*minChunk || got > size+size/20 {
			t.Errorf("the node's limit let %d bytes through, of %d", got, size)
		}
		if int(tuned.Load()) != h.dialled() {
			t.Errorf("%d connections tuned of %d", tuned.Load(), h.dialled())
		}
	})
}
