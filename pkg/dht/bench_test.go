package dht

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkPush measures how long it takes until all of 100 followers have heard of
// a new item, and how many packets they send. All run in this process, each at an
// address of its own.
func BenchmarkPush(b *testing.B) {
	const count = 100
	nodes, heard := make([]*Node, count), make([]list[heardItem], count)
	seq := int64(0)
	for i := range nodes {
		c := Config{Conn: listen(b, fmt.Sprintf("127.0.1.%d:0", i+1))}
		c.times.retry = backoff{first: time.Second, last: time.Minute}
		c.times.bootstrap = backoff{first: 500 * time.Millisecond, last: 30 * time.Second}
		if i > 0 {
			c.Bootstrap = []string{nodes[0].Addr().String()}
		}
		nodes[i], _ = run(b, c)
		stop := follow(nodes[i], signed(key(1), "", 0, "i0e"), time.Minute, &heard[i])
		b.Cleanup(stop)
	}
	push := func() {
		seq++
		if _, err := nodes[seq%count].Publish(signed(key(1), "", seq, "i0e")); err != nil {
			b.Fatal(err)
		}
		wait(b, "all to hear", func() bool {
			for i := range heard {
				if l := heard[i].all(); len(l) == 0 || l[len(l)-1].seq != seq {
					return false
				}
			}
			return true
		})
	}
	wait(b, "the nodes to know many", func() bool {
		for _, n := range nodes {
			if n.Stats().Good < count/3 {
				return false
			}
		}
		return true
	})
	push()
	settle(b, nodes)
	before := sent(nodes)
	for b.Loop() {
		push()
	}
	settle(b, nodes)
	b.ReportMetric(float64(sent(nodes)-before)/float64(b.N), "packets/op")
}
