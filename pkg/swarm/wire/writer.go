package wire

import (
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ErrBacklog is the error of a connection whose peer makes us answer but does
// not read the answers.
var ErrBacklog = errors.New("peer does not read what it makes us send")

// ErrClosed is the error of Flush after Close.
var ErrClosed = errors.New("writer is closed")

// WriterConfig is how a Writer writes.
type WriterConfig struct {
	// Timeout is how long the connection may take no byte; 0 means for ever. It
	// needs a stream with SetWriteDeadline.
	Timeout time.Duration
	// Batch is the most that is offered to the connection in one system call,
	// in bytes; 0 means DefaultBatch.
	Batch int
	// MaxControl bounds the bytes of control messages that wait; 0 means
	// DefaultMaxControl. More of them break the connection with ErrBacklog.
	MaxControl int
}

// Sizes of a Writer, in bytes.
const (
	DefaultBatch      = 256 << 10
	DefaultMaxControl = 4 << 20
)

// Writer gathers messages for one connection and writes them with few system
// calls. Control messages go out before blocks that have not been begun, also
// those that were added later: what a peer should know or do next must not
// wait behind data in the same socket.
//
// The methods that add messages may be called from any goroutine and never
// wait for the network. Flush is for one goroutine at a time. An error of the
// connection is returned by Flush; adding messages afterwards does nothing.
type Writer struct {
	w       io.Writer
	raw     *rawConn // set when w can be written to by system calls
	dl      writeDeadliner
	timeout time.Duration
	batch   int
	maxCtl  int
	wake    chan struct{}

	written atomic.Int64
	blocks  atomic.Int64

	// Owned by Flush.
	plan     plan
	scratch  []byte
	spare    []byte // memory of control messages that were written
	releases []func()

	mu        sync.Mutex
	ctl       []byte      // control messages that wait
	ctlBusy   []byte      // those that are being written
	queue     []*outBlock // only queue[0] may be begun
	dataBytes int         // of queue, not yet written
	free      []*outBlock // for use again
	flushing  bool
	err       error
}

// outBlock is a piece message that waits or is being written.
type outBlock struct {
	Block
	head    [pieceHead]byte
	data    []byte
	file    *os.File // used when data is nil
	off     int64
	sent    int  // bytes of head and data
	busy    bool // part of a write that is under way
	release func()
}

// maxFree bounds the memory kept for queueing further blocks.
const maxFree = 64

// pieceHead is the length of what stands before a block's data.
const pieceHead = 13

func (b *outBlock) size() int { return pieceHead + int(b.Length) }

type writeDeadliner interface {
	SetWriteDeadline(t time.Time) error
}

// NewWriter returns a Writer on w. When w is a plain TCP or Unix connection,
// blocks are written by reference (writev) and from files by sendfile;
// otherwise everything is copied through a buffer of Batch bytes at the most.
func NewWriter(w io.Writer, c WriterConfig) *Writer {
	if s, ok := w.(*stream); ok && s.plainWrites {
		w = s.Conn
	}
	wr := &Writer{
		w: w, raw: newRawConn(w), timeout: c.Timeout,
		batch:  orDefault(c.Batch, DefaultBatch),
		maxCtl: orDefault(c.MaxControl, DefaultMaxControl),
		wake:   make(chan struct{}, 1),
	}
	if c.Timeout > 0 {
		wr.dl, _ = w.(writeDeadliner)
	}
	return wr
}

// SendsFiles says that blocks from files go out by sendfile, without passing
// through this process. Where it is false, SendBlock with memory is as good.
func (w *Writer) SendsFiles() bool { return w.raw != nil }

// Pending is signalled when there is something to flush. Its one place is
// filled by the methods that add messages.
func (w *Writer) Pending() <-chan struct{} { return w.wake }

// Queued is the number of bytes that wait: control messages, and piece
// messages with the part of the one under way that is not yet written.
func (w *Writer) Queued() (control, data int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.ctl) + len(w.ctlBusy), w.dataBytes
}

// BytesWritten is the number of bytes that the connection has taken.
func (w *Writer) BytesWritten() int64 { return w.written.Load() }

// BlockBytes is the number of those that were data of blocks.
func (w *Writer) BlockBytes() int64 { return w.blocks.Load() }

// SendBlock queues a piece message whose block, b.Length bytes, is data. The
// memory must not change until release is called: once, when the block is
// written, dropped or the Writer closed. A nil release is allowed.
func (w *Writer) SendBlock(b Block, data []byte, release func()) {
	if len(data) != int(b.Length) {
		panic("wire: block's data is not of the block's length")
	}
	w.add(b, outBlock{data: data, release: release})
}

// SendFile queues a piece message whose block is the b.Length bytes at offset
// off of f. The file must stay open until release is called, as for SendBlock.
func (w *Writer) SendFile(b Block, f *os.File, off int64, release func()) {
	w.add(b, outBlock{file: f, off: off, release: release})
}

func (w *Writer) add(b Block, o outBlock) {
	w.mu.Lock()
	if w.err != nil {
		w.mu.Unlock()
		o.done()
		return
	}
	var q *outBlock
	if n := len(w.free); n > 0 {
		q, w.free = w.free[n-1], w.free[:n-1]
	} else {
		q = new(outBlock)
	}
	*q = o
	q.Block = b
	appendPieceHead(q.head[:0], b)
	w.queue = append(w.queue, q)
	w.dataBytes += q.size()
	w.mu.Unlock()
	w.signal()
}

func (b *outBlock) done() {
	if b.release != nil {
		b.release()
		b.release = nil
	}
}

func (w *Writer) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// DropBlock takes a queued block back, as for a CANCEL, and says whether it
// could: not when it is being written, is written, or was never queued.
func (w *Writer) DropBlock(b Block) bool {
	w.mu.Lock()
	for i, q := range w.queue {
		if q.Block == b && !q.busy && q.sent == 0 {
			w.queue = slices.Delete(w.queue, i, i+1)
			w.dataBytes -= q.size()
			w.mu.Unlock()
			q.done()
			return true
		}
	}
	w.mu.Unlock()
	return false
}

// DropBlocks takes back all blocks that can be and returns them, as before a
// CHOKE; with the fast extension each is to be rejected.
func (w *Writer) DropBlocks() []Block {
	w.mu.Lock()
	keep := w.queue[:0:0]
	var out []*outBlock
	for _, q := range w.queue {
		if q.busy || q.sent > 0 {
			keep = append(keep, q)
			continue
		}
		out = append(out, q)
		w.dataBytes -= q.size()
	}
	w.queue = keep
	w.mu.Unlock()
	dropped := make([]Block, len(out))
	for i, q := range out {
		dropped[i] = q.Block
		q.done()
	}
	return dropped
}

// Close drops what is queued and makes Flush and all further messages fail. It
// does not close the connection. What a Flush is writing at this moment is
// given back when that Flush returns, so close the connection as well.
func (w *Writer) Close() {
	w.mu.Lock()
	if w.err == nil {
		w.err = ErrClosed
	}
	flushing := w.flushing
	w.mu.Unlock()
	if flushing {
		w.DropBlocks()
	} else {
		w.giveBack()
	}
	w.signal()
}

// giveBack drops everything queued. No write may be under way.
func (w *Writer) giveBack() {
	w.mu.Lock()
	queue := w.queue
	w.queue, w.ctl, w.ctlBusy, w.dataBytes = nil, nil, nil, 0
	w.mu.Unlock()
	for _, q := range queue {
		q.done()
	}
}
