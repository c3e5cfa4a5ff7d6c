package netlab

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// tun is a TUN device: what the host sends over it is read here.
type tun struct{ fd int }

// Offloads that a TUN device may leave to us (linux/if_tun.h).
const (
	tunCSUM = 0x01
	tunTSO4 = 0x02
)

// openTUN makes a device on a host.
func openTUN(h *Host, name string) (*tun, error) {
	t := &tun{fd: -1}
	err := h.within(func() (err error) {
		t.fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
		}
		req, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		if err := unix.IoctlIfreq(t.fd, unix.TUNSETIFF, req); err != nil {
			return fmt.Errorf("make device %s: %w", name, err)
		}
		return os.NewSyscallError("TUNSETOFFLOAD", unix.IoctlSetInt(t.fd, unix.TUNSETOFFLOAD, tunCSUM|tunTSO4))
	})
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func (t *tun) close() error {
	if t.fd < 0 {
		return nil
	}
	return unix.Close(t.fd)
}

// pump carries packets in one direction, in a thread of its own.
type pump struct {
	from, to *tun
	line     *line
	wake     int          // an eventfd that ends it
	thread   atomic.Int32 // that it runs in; 0 once it has ended
	before   atomic.Int64 // CPU of the thread before, in nanoseconds: threads are used again
	spent    atomic.Int64 // CPU of the pump, once it has ended
	ended    chan error

	// Of the thread.
	epoch time.Time
	buf   []byte
	way   fifo
}

func startPump(from, to *tun, l *line) (*pump, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	p := &pump{from: from, to: to, line: l, wake: wake, ended: make(chan error, 1), epoch: time.Now(), buf: make([]byte, vnetHeader+maxPacket)}
	go func() { p.ended <- p.run() }()
	return p, nil
}

// stop ends the pump. The error is what ended it before.
func (p *pump) stop() error {
	_, err := unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	return errors.Join(os.NewSyscallError("write", err), <-p.ended, unix.Close(p.wake))
}

func (p *pump) run() error {
	// A thread of its own sleeps more exactly than Go's timers and its time
	// can be told apart.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	p.before.Store(int64(threadTime(0)))
	p.thread.Store(int32(unix.Gettid()))
	defer func() { p.spent.Store(int64(threadTime(0)) - p.before.Load()); p.thread.Store(0) }()
	in := []unix.PollFd{{Fd: int32(p.wake), Events: unix.POLLIN}, {Fd: int32(p.from.fd), Events: unix.POLLIN}}
	busy := false
	for {
		if err := p.deliver(); err != nil {
			return err
		}
		// While packets come they are looked for each tick, which costs less than
		// to be woken for each.
		fds, wait := in, time.Duration(-1)
		if due, ok := p.way.next(); ok {
			wait = max(tick, due-time.Since(p.epoch))
		}
		if busy {
			fds, wait = in[:1], tick
		}
		if err := poll(fds, wait); err != nil {
			return err
		}
		if in[0].Revents != 0 {
			return nil
		}
		var err error
		if busy, err = p.receive(); err != nil {
			return err
		}
	}
}

// tick is how much too late a packet may come on its way and arrive.
const tick = 200 * time.Microsecond

// poll waits for any of fds; a negative time is for ever.
func poll(fds []unix.PollFd, wait time.Duration) error {
	var timeout *unix.Timespec
	if wait >= 0 {
		ts := unix.NsecToTimespec(int64(wait))
		timeout = &ts
	}
	if _, err := unix.Ppoll(fds, timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
		return os.NewSyscallError("ppoll", err)
	}
	return nil
}

// receive takes what the device has, but not so much that what is due waits, and
// says whether there was anything.
func (p *pump) receive() (some bool, err error) {
	for range 64 {
		n, err := unix.Read(p.from.fd, p.buf)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			return some, nil
		}
		if err != nil {
			return some, os.NewSyscallError("read", err)
		}
		some = true
		s, ok := parseSegment(p.buf[:n])
		if !ok {
			continue
		}
		p.line.take(time.Since(p.epoch), s, func(first, end int, due time.Duration) {
			p.way.push(due, s.runSize(first, end), func(b []byte) []byte { return s.run(b, first, end) })
		})
	}
	return some, nil
}

// deliver writes what is due.
func (p *pump) deliver() error {
	for {
		due, ok := p.way.next()
		if !ok || due > time.Since(p.epoch) {
			return nil
		}
		_, err := unix.Write(p.to.fd, p.way.front())
		p.way.pop()
		// EIO is what a device says that is down.
		if err != nil && !errors.Is(err, unix.EIO) && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("write", err)
		}
	}
}

// cpu is the time that the pump's thread has computed.
func (p *pump) cpu() time.Duration {
	if tid := p.thread.Load(); tid != 0 {
		return threadTime(int(tid)) - time.Duration(p.before.Load())
	}
	return time.Duration(p.spent.Load())
}

// threadTime is the CPU time of a thread of this process; 0 is the calling one.
func threadTime(tid int) time.Duration {
	clock := int32(unix.CLOCK_THREAD_CPUTIME_ID)
	if tid != 0 {
		clock = int32(^tid<<3 | 6) // as pthread_getcpuclockid makes it
	}
	var ts unix.Timespec
	if unix.ClockGettime(clock, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
