package sim

import (
	"time"

	"distd/pkg/swarm/picker"
)

// An uplink sends of one socket what takes it quantumTime before it comes to the
// next, but a packet at least and a block at most.
const (
	quantumTime = 2600 * time.Microsecond
	packet      = 1500
	longest     = picker.BlockSize * blockPercent / 100
)

// quantum is that in bytes.
func (c *cable) quantum() int {
	return min(longest, max(packet, int(c.up*quantumTime.Seconds())))
}

// downQueue is what the queue before a downlink holds, in time at its rate.
const downQueue = 60 * time.Millisecond

// cable is a node's uplink and downlink.
type cable struct {
	up, down float64 // bytes a second
	ring     fifo[*link]
	busy     bool
	began    time.Duration // of what is being sent
	burst    []portion
	bytes    int

	inbound  int // bytes sent to this node that have not arrived
	downFree time.Duration
	held     fifo[*link] // sockets of others that wait for room
}

// portion is what is sent of one socket.
type portion struct {
	l            *link
	bytes, items int
}

// admits reports whether the queue before the downlink has room.
func (c *cable) admits() bool {
	return c.inbound < c.window()
}

func (c *cable) window() int { return max(packet, int(c.down*downQueue.Seconds())) }

// enter puts a socket with something to send in the ring.
func (n *node) enter(l *link) {
	l.inRing = true
	n.ring.push(l)
	if !n.busy {
		n.transmit()
	}
}

// transmit sends from the next socket. Messages of several sockets in a row
// go out together, since each is shorter than a packet.
func (n *node) transmit() {
	n.burst, n.bytes = n.burst[:0], 0
	quantum := n.quantum()
	for n.ring.len() > 0 && n.bytes < quantum {
		l := *n.ring.first()
		if len(n.burst) > 0 && !l.dead && !l.sendsControl() {
			break
		}
		n.ring.pop()
		l.inRing = false
		if l.dead {
			continue
		}
		if !l.to.admits() {
			l.held = true
			l.to.held.push(l)
			continue
		}
		control := l.sendsControl()
		bytes, items := l.cut(quantum)
		l.to.inbound += bytes
		n.burst = append(n.burst, portion{l, bytes, items})
		n.bytes += bytes
		if l.sock.len() > 0 {
			l.inRing = true
			n.ring.push(l)
		}
		if !control {
			break
		}
	}
	if n.busy = len(n.burst) > 0; n.busy {
		n.began = n.net.now
		n.net.after(seconds(float64(n.bytes)/n.up), event{kind: evSent, a: n.id})
	}
}

// sent hands what the uplink has sent to the downlinks, and goes on. A packet
// passes the downlink while the next is still being sent.
func (n *node) sent() {
	delay := n.net.cfg.Delay
	for _, p := range n.burst {
		to := p.l.to
		begin := max(to.downFree, n.began+delay)
		to.downFree = max(n.net.now+delay, begin+seconds(float64(p.bytes)/to.down))
		n.net.at(to.downFree, event{kind: evArrive, a: p.l.id, b: int32(p.items), c: int32(p.bytes)})
		p.l.unsent -= p.bytes
		if !p.l.dead {
			n.write(p.l)
		}
	}
	n.flush()
	n.transmit()
}

// arrived makes room before the downlink, and lets as many sockets go on as it
// is good for.
func (n *node) arrived(bytes int) {
	n.inbound -= bytes
	q := n.quantum()
	room := (n.window() - n.inbound + q - 1) / q
	for ; room > 0 && n.held.len() > 0; room-- {
		l := n.held.pop()
		l.held = false
		if !l.dead {
			l.from.enter(l)
		}
	}
}
