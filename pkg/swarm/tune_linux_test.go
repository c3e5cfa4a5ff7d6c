package swarm

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"distd/internal/dscp"
)

// marker marks connections and looks at what they are marked with.
type marker struct {
	value atomic.Int32
	mu    sync.Mutex
	conns []net.Conn
}

func (m *marker) tune(c net.Conn) {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err == nil {
		_ = dscp.Mark(raw, int(m.value.Load())) // marked looks
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conns = append(m.conns, c)
}

// marked is how many of its connections have the value.
func (m *marker) marked(value int) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := map[net.Conn]bool{}
	for _, c := range m.conns {
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil || seen[c] {
			continue
		}
		seen[c] = true
		_ = raw.Control(func(fd uintptr) {
			if tos, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS); err == nil && tos == value<<2 {
				n++
			}
		})
	}
	return n
}

// TestTune: connections are marked on both sides, and again after a change.
func TestTune(t *testing.T) {
	con := newContent(t, 1<<20, 64<<10)
	stay := newValve(16 << 10)
	var m marker
	m.value.Store(46)
	change := func(c *Config) { c.Tune = m.tune }
	seed := startNode(t, con, nodeOptions{seed: true, change: change, spec: func(s *Spec) { s.Up = stay }})
	leaf := startNode(t, con, nodeOptions{change: change})
	leaf.knows(seed)
	stay.wait(t)
	if n := m.marked(46); n != 2 {
		t.Errorf("%d connections are marked, want both ends of one", n)
	}
	m.value.Store(8)
	seed.e.Retune()
	eventually(t, 10*time.Second, "the seed's end has the new mark", func() bool { return m.marked(8) == 1 && m.marked(46) == 1 })
	leaf.e.Retune()
	eventually(t, 10*time.Second, "the leaf's end has it too", func() bool { return m.marked(8) == 2 })
}
