package wire

import (
	"errors"
	"fmt"

	"distd/pkg/swarm/bitmap"
)

// Limits bound what a peer may send, by what is known of the torrent and what
// was agreed with the peer. The zero value is for a torrent whose metadata is
// not known yet: bitfields up to MaxBitfield, no requests and no blocks.
type Limits struct {
	// Pieces is the number of pieces; 0 while the metadata is unknown.
	Pieces int
	// PieceLength and Total are the length of a piece and of all, in bytes.
	PieceLength, Total int64
	// MaxRequest is the longest block that the peer may request and cancel; 0
	// means DefaultMaxRequest.
	MaxRequest uint32
	// MaxBlock is the longest block that is accepted as data, the longest that
	// is ever requested of the peer; 0 means DefaultBlock.
	MaxBlock uint32
	// MaxExtended is the longest payload of an extended message (and of
	// unknown ones); 0 means DefaultMaxExtended.
	MaxExtended int
	// Fast and Extensions say that both sides set the bit of BEP 6 and of
	// BEP 10. Messages of an extension that was not agreed are refused.
	Fast, Extensions bool
}

// Bounds that Limits has where they are not set.
const (
	// DefaultMaxRequest is what clients have long accepted as the longest request.
	DefaultMaxRequest = 128 << 10
	// DefaultMaxExtended is enough for metadata blocks and peer exchange.
	DefaultMaxExtended = 1 << 20
	// MaxBitfield bounds the bitfield while the number of pieces is unknown.
	MaxBitfield = 1 << 20
)

// ProtocolError is a breach of the protocol by the peer. The connection is of
// no use afterwards and should be closed.
type ProtocolError struct {
	Type   Type   // of the message
	Reason string // what was wrong with it
}

// Error says which message broke which rule.
func (e *ProtocolError) Error() string {
	return fmt.Sprintf("peer broke the protocol: %s: %s", e.Type, e.Reason)
}

func violation(t Type, format string, args ...any) error {
	return &ProtocolError{Type: t, Reason: fmt.Sprintf(format, args...)}
}

// IsProtocolError says whether err is, or wraps, a *ProtocolError.
func IsProtocolError(err error) bool {
	var p *ProtocolError
	return errors.As(err, &p)
}

func (l *Limits) maxRequest() uint32 { return orDefault(l.MaxRequest, DefaultMaxRequest) }
func (l *Limits) maxBlock() uint32   { return orDefault(l.MaxBlock, DefaultBlock) }
func (l *Limits) maxExtended() int   { return orDefault(l.MaxExtended, DefaultMaxExtended) }

func orDefault[T int | uint32](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// checkLength refuses a payload length, without the type's byte, that a
// message of type t cannot have.
func (l *Limits) checkLength(t Type, n uint32) error {
	want := uint32(0)
	switch t {
	case Choke, Unchoke, Interested, NotInterested, HaveAll, HaveNone:
	case Have, Suggest, AllowedFast:
		want = 4
	case Request, Cancel, Reject:
		want = 12
	case Port:
		want = 2
	case Bitfield:
		return l.checkBitfieldLength(n)
	case Piece:
		return l.checkPieceLength(n)
	default:
		return l.checkExtendedLength(t, n)
	}
	if n != want {
		return violation(t, "%d bytes long, not %d", n, want)
	}
	return l.checkFast(t)
}

func (l *Limits) checkFast(t Type) error {
	switch t {
	case Suggest, HaveAll, HaveNone, Reject, AllowedFast:
		if !l.Fast {
			return violation(t, "sent without the fast extension")
		}
	}
	return nil
}

func (l *Limits) checkBitfieldLength(n uint32) error {
	if l.Pieces > 0 && int64(n) != int64(bitmap.ByteLen(l.Pieces)) {
		return violation(Bitfield, "%d bytes for %d pieces", n, l.Pieces)
	}
	if n > MaxBitfield && l.Pieces <= 0 {
		return violation(Bitfield, "%d bytes, more than %d, before the number of pieces is known", n, MaxBitfield)
	}
	return nil
}

func (l *Limits) checkPieceLength(n uint32) error {
	if n < 8 {
		return violation(Piece, "%d bytes long, less than its header", n)
	}
	if n-8 > l.maxBlock() {
		return violation(Piece, "block of %d bytes, more than the %d that are ever requested", n-8, l.maxBlock())
	}
	return nil
}

func (l *Limits) checkExtendedLength(t Type, n uint32) error {
	if t == Extended {
		switch {
		case !l.Extensions:
			return violation(t, "sent without the extension protocol")
		case n < 1:
			return violation(t, "without an identifier")
		}
	}
	if int64(n) > int64(l.maxExtended())+1 {
		return violation(t, "%d bytes long, more than %d", n, l.maxExtended())
	}
	return nil
}

// checkIndex refuses a piece that the torrent does not have.
func (l *Limits) checkIndex(t Type, index uint32) error {
	if l.Pieces > 0 && int64(index) >= int64(l.Pieces) {
		return violation(t, "piece %d of %d", index, l.Pieces)
	}
	if l.Pieces <= 0 && index >= MaxBitfield*8 {
		return violation(t, "piece %d before the number of pieces is known", index)
	}
	return nil
}

// checkBlock refuses a block that is empty, longer than longest, or not wholly
// inside a piece of the torrent.
func (l *Limits) checkBlock(t Type, b Block, longest uint32) error {
	if l.Pieces <= 0 {
		return violation(t, "before the metadata is known")
	}
	if err := l.checkIndex(t, b.Index); err != nil {
		return err
	}
	size := min(l.PieceLength, l.Total-int64(b.Index)*l.PieceLength)
	if b.Length == 0 || b.Length > longest || int64(b.Begin)+int64(b.Length) > size {
		return violation(t, "block of %d bytes at %d in piece %d of %d bytes (longest allowed %d)", b.Length, b.Begin, b.Index, size, longest)
	}
	return nil
}
