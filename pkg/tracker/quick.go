package tracker

import (
	"bytes"
	"context"
	"net"
	"runtime"
	"sync"
)

// begun is a connection that somebody has begun to serve.
type begun struct {
	net.Conn
	read []byte // of a request
	rest []byte // of an answer, still to be sent
	last bool   // and then it ends
}

// acceptQuickly takes connections in several goroutines, which answer what they
// can themselves, until ctx is done.
func (f *front) acceptQuickly(ctx context.Context, q *quickListener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = q.Close() })
	defer stop()
	var loops sync.WaitGroup
	errs := make(chan error, runtime.GOMAXPROCS(0))
	for range cap(errs) {
		loops.Go(func() {
			defer cancel()
			errs <- f.acceptLoop(ctx, func() error { return f.acceptOne(q) })
		})
	}
	loops.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// acceptOne takes a connection and answers it, or has it served.
func (f *front) acceptOne(q *quickListener) error {
	c, err := q.accept()
	if err != nil {
		return err
	}
	f.count.Add(1)
	buf := heads.Get().(*[]byte)
	defer heads.Put(buf)
	b, done := f.quick(c, *buf)
	if done {
		c.close()
		f.freeSlot()
		return nil
	}
	if b.Conn, err = c.conn(); err != nil {
		f.freeSlot()
		return nil // it has gone
	}
	return f.take(b)
}

// quick answers a request that is there as a whole, if nothing follows it. If
// it is not done then, b has what is left for someone else.
func (f *front) quick(c quickConn, buf []byte) (b begun, done bool) {
	n := c.read(buf)
	end := bytes.Index(buf[:n], endOfHead)
	if end < 0 || end+len(endOfHead) != n {
		return begun{read: bytes.Clone(buf[:n])}, false
	}
	r, ok := parseHead(buf[:end+2])
	if !ok {
		return begun{read: bytes.Clone(buf[:n])}, false
	}
	r.keep = r.keep && f.roomy()
	k := works.Get().(*work)
	defer works.Put(k)
	f.compose(k, &r, c.from, c.local)
	sent := c.write(k.head)
	if sent == len(k.head) && !r.keep {
		return begun{}, true
	}
	return begun{rest: bytes.Clone(k.head[sent:]), last: !r.keep}, false
}
