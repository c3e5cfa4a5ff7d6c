package swarm

import (
	"testing"
	"time"
)

func (n *node) partners() (k int) {
	n.tor.call(func() { k = n.tor.pick.Partners() })
	return k
}

// Two directing seeds that only the leaves know learn of each other, and part
// when the leaves have gone.
func TestTwoSeedsSplitThePieces(t *testing.T) {
	con := newContent(t, 8<<20, 64<<10)
	// A leaf's transfer is held back until the seeds have met.
	hold := func(until chan struct{}) func(*Spec) {
		return func(s *Spec) {
			v := s.Verify
			s.Verify = func(i int, b []byte) bool { <-until; return v(i, b) }
		}
	}
	first, second := make(chan struct{}), make(chan struct{})
	change := func(c *Config) { c.partnerTime = 200 * time.Millisecond }
	a := startNode(t, con, nodeOptions{seed: true, directing: true, change: change})
	b := startNode(t, con, nodeOptions{seed: true, directing: true, change: change})
	var leaves []*node
	for range 3 {
		l := startNode(t, con, nodeOptions{spec: hold(first)})
		l.knows(append([]*node{a, b}, leaves...)...)
		leaves = append(leaves, l)
	}
	met := func() bool { return a.partners() == 1 && b.partners() == 1 }
	eventually(t, 20*time.Second, "the seeds know each other", met)
	close(first)
	for _, l := range leaves {
		l.wait(30 * time.Second)
		con.same(t, l.dir)
	}
	for _, l := range leaves {
		l.stop()
	}
	eventually(t, 20*time.Second, "the seeds part", func() bool { return a.partners()+b.partners() == 0 })
	late := startNode(t, con, nodeOptions{spec: hold(second)})
	late.knows(a)
	eventually(t, 20*time.Second, "the seeds meet again for a new leaf", met)
	close(second)
	late.wait(30 * time.Second)
}

// A seed that has everything does not leave another that still fetches from it.
func TestSeedStaysForOneThatFetches(t *testing.T) {
	con := newContent(t, 256<<10, 64<<10)
	until := make(chan struct{})
	a := startNode(t, con, nodeOptions{seed: true, directing: true, spec: oneCopy(1)})
	b := startNode(t, con, nodeOptions{directing: true, spec: func(s *Spec) {
		oneCopy(1)(s)
		v := s.Verify
		s.Verify = func(i int, b []byte) bool { <-until; return v(i, b) }
	}})
	b.knows(a)
	eventually(t, 20*time.Second, "the seeds know each other", func() bool { return a.partners() == 1 && b.partners() == 1 })
	later := func(n *node, d time.Duration) {
		n.tor.call(func() {
			for _, c := range n.tor.conns {
				n.tor.dropPartner(c, time.Now())
				n.tor.dropPartner(c, time.Now().Add(d))
			}
		})
	}
	later(a, time.Hour)
	if a.partners() != 1 {
		t.Error("it left one that still fetches")
	}
	close(until)
	b.wait(20 * time.Second)
	later(b, time.Hour)
	eventually(t, 20*time.Second, "they part when both have everything", func() bool { return a.partners()+b.partners() == 0 })
}
