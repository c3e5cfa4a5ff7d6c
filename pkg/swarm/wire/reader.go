package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// Sink says where the data of a block that is about to be read belongs. It
// returns exactly length bytes of memory, which the Reader fills and hands out
// as Message.Data, or nil when the block is unwanted: its bytes are then
// skipped. The block lies inside its piece and is not longer than
// Limits.MaxBlock; whether it was requested is for the Sink to know. When Next
// fails, memory that was handed out last may be partly filled.
type Sink func(b Block) []byte

// ReaderConfig is how a Reader reads.
type ReaderConfig struct {
	// Limits to begin with; see SetLimits.
	Limits Limits
	// Sink receives blocks; nil hands them out in the Reader's own memory.
	Sink Sink
	// Timeout is how long the peer may be silent; 0 means for ever. It needs a
	// stream with SetReadDeadline.
	Timeout time.Duration
	// MaxBuffer is the most that is read in one system call, in bytes; 0 means
	// DefaultReadBuffer. The buffer begins small and grows while reads fill it.
	MaxBuffer int
}

// Sizes of a Reader's buffer, in bytes.
const (
	MinReadBuffer     = 4 << 10
	DefaultReadBuffer = 128 << 10
)

// deadliner is the part of net.Conn that time-outs need.
type deadliner interface {
	SetReadDeadline(t time.Time) error
}

// Reader decodes messages from one connection. Next is for one goroutine; the
// other methods may be called from any.
type Reader struct {
	in       *input
	sink     Sink
	limits   atomic.Pointer[Limits]
	skip     uint32 // bytes of the last message that are still in the stream
	big      []byte // payloads longer than the buffer
	payloads atomic.Int64
}

// NewReader returns a Reader on r.
func NewReader(r io.Reader, c ReaderConfig) *Reader {
	rd := &Reader{sink: c.Sink, in: newInput(r, c.MaxBuffer, c.Timeout)}
	rd.SetLimits(c.Limits)
	return rd
}

// SetLimits changes what is accepted from the next message on, for instance
// when the metadata has arrived or larger blocks were agreed. A bitfield or a
// HAVE that was read before must be checked again by who kept it.
func (r *Reader) SetLimits(l Limits) { r.limits.Store(&l) }

// Limits returns what SetLimits set last.
func (r *Reader) Limits() Limits { return *r.limits.Load() }

// BytesRead is the number of bytes that came from the connection so far.
func (r *Reader) BytesRead() int64 { return r.in.total.Load() }

// BlockBytes is the number of those that were data of blocks, counted as they
// arrive and not block by block, so that it serves to measure a peer's rate.
func (r *Reader) BlockBytes() int64 { return r.payloads.Load() }

// Buffered is the number of bytes read from the connection and not yet
// decoded. It is for the goroutine that calls Next: when it is 0, Next would
// have to wait for the network.
func (r *Reader) Buffered() int { return r.in.buffered() }

// Next reads the next message into m. It returns io.EOF when the peer closed
// the connection between two messages, io.ErrUnexpectedEOF when inside of one,
// a *ProtocolError when the message breaks the protocol or a limit, and else
// the error of the connection. After any error the Reader is of no use.
func (r *Reader) Next(m *Message) error {
	if err := r.finishLast(); err != nil {
		return err
	}
	*m = Message{}
	head, err := r.in.peek(4)
	if err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head)
	r.in.advance(4)
	if n == 0 {
		m.Type = KeepAlive
		return nil
	}
	head, err = r.in.peek(1)
	if err != nil {
		return unexpected(err)
	}
	t := Type(head[0])
	r.in.advance(1)
	l := r.limits.Load()
	m.Type = t
	if err := l.checkLength(t, n-1); err != nil {
		return err
	}
	return r.decode(m, n-1, l)
}

// decode reads the payload of n bytes, whose length checkLength has accepted.
func (r *Reader) decode(m *Message, n uint32, l *Limits) error {
	switch m.Type {
	case Choke, Unchoke, Interested, NotInterested, HaveAll, HaveNone:
		return nil
	case Have, Suggest, AllowedFast, Request, Cancel, Reject, Port:
		return r.decodeFixed(m, n, l)
	case Piece:
		return r.decodePiece(m, n-8, l)
	case Bitfield:
		return r.decodeBitfield(m, n, l)
	case Extended:
		head, err := r.in.peek(1)
		if err != nil {
			return unexpected(err)
		}
		m.ExtID = head[0]
		r.in.advance(1)
		m.Data, err = r.payload(n - 1)
		return unexpected(err)
	default:
		m.Type = Unknown
		r.skip = n
		return nil
	}
}

func (r *Reader) decodeFixed(m *Message, n uint32, l *Limits) error {
	b, err := r.in.peek(int(n))
	if err != nil {
		return unexpected(err)
	}
	defer r.in.advance(int(n))
	if m.Type == Port {
		m.Port = binary.BigEndian.Uint16(b)
		return nil
	}
	m.Index = binary.BigEndian.Uint32(b)
	if n == 4 {
		return l.checkIndex(m.Type, m.Index)
	}
	m.Begin, m.Length = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	longest := l.maxRequest()
	if m.Type == Reject {
		longest = max(longest, l.maxBlock())
	}
	return l.checkBlock(m.Type, m.Block(), longest)
}

func (r *Reader) decodePiece(m *Message, n uint32, l *Limits) error {
	b, err := r.in.peek(8)
	if err != nil {
		return unexpected(err)
	}
	m.Index, m.Begin, m.Length = binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), n
	r.in.advance(8)
	if err := l.checkBlock(Piece, m.Block(), l.maxBlock()); err != nil {
		return err
	}
	if r.sink == nil {
		m.Data, err = r.payload(n)
		r.payloads.Add(int64(len(m.Data)))
		return unexpected(err)
	}
	dst := r.sink(m.Block())
	if dst == nil {
		r.skip = n
		return nil
	}
	if len(dst) != int(n) {
		return fmt.Errorf("read block: sink gave %d bytes of memory for %d", len(dst), n)
	}
	if err := r.in.fill(dst, &r.payloads); err != nil {
		return unexpected(err)
	}
	m.Data = dst
	return nil
}

func (r *Reader) decodeBitfield(m *Message, n uint32, l *Limits) error {
	b, err := r.payload(n)
	if err != nil {
		return unexpected(err)
	}
	if s := l.Pieces % 8; l.Pieces > 0 && s != 0 && b[n-1]<<s != 0 {
		return violation(Bitfield, "spare bits are set")
	}
	m.Data = b
	return nil
}

// payload returns the next n bytes, valid until finishLast. Those that do not
// fit the buffer are gathered elsewhere, as they arrive: a peer that announces
// a long message and sends nothing costs nothing.
func (r *Reader) payload(n uint32) ([]byte, error) {
	if int(n) <= r.in.max {
		b, err := r.in.peek(int(n))
		if err == nil {
			r.in.advance(int(n))
		}
		return b, err
	}
	r.big = r.big[:0]
	for len(r.big) < int(n) {
		step := min(int(n)-len(r.big), r.in.max)
		b, err := r.in.peek(step)
		if err != nil {
			return nil, err
		}
		r.big = append(r.big, b...)
		r.in.advance(step)
	}
	return r.big, nil
}

// finishLast drops what the last message left: an unwanted block and memory
// for a long payload.
func (r *Reader) finishLast() error {
	r.big = nil
	for r.skip > 0 {
		step := min(int(r.skip), MinReadBuffer)
		if have := r.in.buffered(); have > 0 {
			step = min(int(r.skip), have)
		}
		if _, err := r.in.peek(step); err != nil {
			return unexpected(err)
		}
		r.in.advance(step)
		r.skip -= uint32(step)
	}
	return nil
}

// unexpected turns an end of stream inside a message into what it is.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
