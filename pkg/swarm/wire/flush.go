package wire

import (
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// maxVecs bounds the pieces of memory in one system call (IOV_MAX is 1024).
const maxVecs = 256

// plan is what the next write offers to the connection: either memory, or a
// stretch of a file.
type plan struct {
	vecs  [][]byte
	total int
	// more says that data from a file follows at once, so that the kernel should
	// not send a packet with the few bytes of its head.
	more bool

	file *os.File
	off  int64
	n    int
}

// Flush writes everything that is queued, and what is added meanwhile. It
// returns when nothing is left or the connection fails; then everything queued
// is dropped and every later Flush fails with the same error.
func (w *Writer) Flush() error {
	w.mu.Lock()
	w.flushing = true
	w.mu.Unlock()
	err := w.flush()
	w.mu.Lock()
	w.flushing = false
	if w.err == nil {
		w.err = err
	}
	err = w.err
	w.mu.Unlock()
	if err != nil {
		w.giveBack()
	}
	return err
}

func (w *Writer) flush() error {
	for {
		if w.dl != nil {
			if err := w.dl.SetWriteDeadline(time.Now().Add(w.timeout)); err != nil {
				return err
			}
		}
		var n int
		var err error
		if w.raw != nil {
			n, err = w.raw.write(w)
		} else {
			n, err = w.copyOut()
		}
		if err != nil || n == 0 {
			return err
		}
	}
}

// gather makes the plan of the next write and marks what it holds as busy. It
// reports false when there is nothing to write.
func (w *Writer) gather() (bool, error) {
	p := &w.plan
	*p = plan{vecs: p.vecs[:0]}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return false, w.err
	}
	queue := w.queue
	if len(queue) > 0 && queue[0].sent > 0 {
		// A message that is begun must be finished before anything else.
		if p.addBlock(queue[0], w.batch) {
			return true, nil
		}
		queue = queue[1:]
	}
	w.takeControl()
	if len(w.ctlBusy) > 0 {
		p.add(w.ctlBusy)
	}
	for _, q := range queue {
		if p.total >= w.batch || len(p.vecs)+2 > maxVecs || p.addBlock(q, w.batch) {
			break
		}
	}
	return p.total+p.n > 0, nil
}

// unplan takes back the marks of a plan that was not written, so that its
// blocks can be dropped while the connection has no room.
func (w *Writer) unplan() {
	w.mu.Lock()
	w.unmark()
	w.mu.Unlock()
}

func (w *Writer) unmark() {
	for _, q := range w.queue {
		if !q.busy {
			return
		}
		q.busy = false
	}
}

// takeControl moves the control messages that wait behind those being written.
func (w *Writer) takeControl() {
	if len(w.ctl) == 0 {
		return
	}
	if len(w.ctlBusy) == 0 {
		w.ctlBusy, w.ctl, w.spare = w.ctl, w.spare[:0], w.ctl
		return
	}
	w.ctlBusy = append(w.ctlBusy, w.ctl...)
	w.ctl = w.ctl[:0]
}

func (p *plan) add(b []byte) {
	p.vecs = append(p.vecs, b)
	p.total += len(b)
}

// addBlock adds what is left of b and says that nothing may follow in this
// plan: b's data is in a file, or is cut at the limit of a batch.
func (p *plan) addBlock(b *outBlock, batch int) (last bool) {
	b.busy = true
	sent := b.sent
	if sent < pieceHead {
		p.add(b.head[sent:])
		sent = pieceHead
		if b.data == nil && b.Length > 0 {
			p.more = true
			return true
		}
	}
	sent -= pieceHead
	rest := int(b.Length) - sent
	take := min(rest, max(batch-p.total, DefaultBlock))
	if b.data == nil {
		p.file, p.off, p.n = b.file, b.off+int64(sent), take
		return true
	}
	p.add(b.data[sent : sent+take])
	return take < rest
}

// wrote accounts for n bytes of the plan that the connection has taken.
func (w *Writer) wrote(n int) {
	w.written.Add(int64(n))
	w.mu.Lock()
	if len(w.queue) > 0 && w.queue[0].sent > 0 {
		n = w.wroteBlock(n)
	}
	c := min(n, len(w.ctlBusy))
	// Only what the plan held can be written: control messages that were not in
	// it leave n at zero here.
	w.ctlBusy = w.ctlBusy[c:]
	n -= c
	for n > 0 && len(w.queue) > 0 {
		n = w.wroteBlock(n)
	}
	w.unmark()
	w.mu.Unlock()
	for i, release := range w.releases {
		release()
		w.releases[i] = nil
	}
	w.releases = w.releases[:0]
}

// wroteBlock accounts for the first block of the queue, of n bytes written.
func (w *Writer) wroteBlock(n int) int {
	q := w.queue[0]
	step := min(n, q.size()-q.sent)
	w.blocks.Add(int64(max(q.sent+step, pieceHead) - max(q.sent, pieceHead)))
	q.sent += step
	w.dataBytes -= step
	if q.sent < q.size() {
		return n - step
	}
	if q.release != nil {
		w.releases = append(w.releases, q.release)
	}
	w.queue = slices.Delete(w.queue, 0, 1)
	if *q = (outBlock{}); len(w.free) < maxFree {
		w.free = append(w.free, q)
	}
	return n - step
}

// copyOut writes one plan through a buffer, for connections that only have
// Write. It returns 0 when there was nothing to write.
func (w *Writer) copyOut() (int, error) {
	ok, err := w.gather()
	if !ok {
		return 0, err
	}
	p := &w.plan
	w.scratch = w.scratch[:0]
	for _, v := range p.vecs {
		w.scratch = append(w.scratch, v...)
	}
	if p.file != nil {
		if err := w.loadFile(); err != nil {
			return 0, err
		}
	}
	n, err := w.w.Write(w.scratch)
	w.wrote(n)
	if err == nil && n < len(w.scratch) {
		err = io.ErrShortWrite
	}
	return n, err
}

// loadFile reads the plan's stretch of a file to the end of scratch. A file
// that ends too early is an error: the length is promised to the peer by then.
func (w *Writer) loadFile() error {
	p, old := &w.plan, len(w.scratch)
	w.scratch = slices.Grow(w.scratch, p.n)[:old+p.n]
	got, err := p.file.ReadAt(w.scratch[old:], p.off)
	if got == p.n {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at %d of %s to send them: %w", p.n, p.off, p.file.Name(), err)
}
