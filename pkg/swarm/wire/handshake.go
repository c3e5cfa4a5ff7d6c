package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	pp "github.com/anacrolix/torrent/peer_protocol"
)

// Lengths in the handshake of BEP 3: up to the infohash, and whole.
const (
	headLen      = len(pp.Protocol) + 8 + 20
	handshakeLen = headLen + 20
)

// Initiate does the handshake on a connection that this node opened. It ends
// by Options.Timeout or with ctx. On failure the connection is of no use but
// not closed; on success it has no deadline.
func Initiate(ctx context.Context, conn net.Conn, o Options) (*Session, error) {
	return within(ctx, conn, &o, initiate)
}

// Accept does the handshake on a connection that a peer opened, plain or
// encrypted as its first bytes show. It ends by Options.Timeout or with ctx. On
// failure the connection is of no use but not closed; on success it has no
// deadline. A peer that names an unknown torrent gets no answer.
func Accept(ctx context.Context, conn net.Conn, o Options) (*Session, error) {
	return within(ctx, conn, &o, accept)
}

// within runs a handshake under a deadline, and turns a panic of a library on
// what the peer sent into an error.
func within(ctx context.Context, conn net.Conn, o *Options, do func(net.Conn, *Options) (*Session, error)) (s *Session, err error) {
	if err := conn.SetDeadline(time.Now().Add(o.timeout())); err != nil {
		return nil, fmt.Errorf("handshake with %s: %w", conn.RemoteAddr(), err)
	}
	// A deadline and not ctx ends reads and writes: both must have returned
	// before the connection is used further.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if r := recover(); r != nil {
			s, err = nil, fmt.Errorf("%w: %v", ErrHandshake, r)
		}
		if !stop() && ctx.Err() != nil {
			s, err = nil, context.Cause(ctx)
		}
		if err == nil {
			err = conn.SetDeadline(time.Time{})
		}
		if err != nil {
			s, err = nil, fmt.Errorf("handshake with %s: %w", conn.RemoteAddr(), err)
		}
	}()
	return do(conn, o)
}

func initiate(conn net.Conn, o *Options) (*Session, error) {
	hello := handshake(o, o.InfoHash)
	encrypt := o.Policy == Require || o.Policy == Allow && o.Obfuscate
	var how mode
	if encrypt {
		var err error
		if conn, how, err = initiateMSE(conn, o, hello); err != nil {
			return nil, err
		}
	} else if _, err := conn.Write(hello); err != nil {
		return nil, err
	}
	b := make([]byte, handshakeLen)
	if _, err := io.ReadFull(conn, b); err != nil {
		return nil, closedEarly(err)
	}
	if !bytes.HasPrefix(b, []byte(pp.Protocol)) {
		return nil, ErrHandshake
	}
	s := newSession(conn, b, o)
	if s.InfoHash != o.InfoHash {
		return nil, ErrInfoHash
	}
	copy(s.PeerID[:], b[headLen:])
	return s.finish(how, o)
}

func accept(conn net.Conn, o *Options) (*Session, error) {
	first := make([]byte, len(pp.Protocol), handshakeLen)
	if _, err := io.ReadFull(conn, first); err != nil {
		return nil, closedEarly(err)
	}
	var how mode
	if string(first) == pp.Protocol {
		if o.Policy == Require {
			return nil, ErrPlain
		}
	} else {
		if o.Policy == Off || o.InfoHashes == nil {
			return nil, ErrEncrypted
		}
		var err error
		if conn, how, err = acceptMSE(conn, first, o); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(conn, first); err != nil {
			return nil, closedEarly(err)
		}
		if string(first) != pp.Protocol {
			return nil, ErrHandshake
		}
	}
	b := first[:headLen]
	if _, err := io.ReadFull(conn, b[len(first):]); err != nil {
		return nil, closedEarly(err)
	}
	s := newSession(conn, b, o)
	s.Incoming = true
	if how.obfuscated && s.InfoHash != how.infoHash || o.Known == nil || !o.Known(s.InfoHash) {
		return nil, ErrInfoHash
	}
	if err := s.answer(handshake(o, s.InfoHash)); err != nil {
		return nil, err
	}
	return s.finish(how, o)
}

// answer sends hello and reads the peer's ID, both at once: trackers that test
// whether this port can be reached send no ID before they are answered, and a
// connection without buffers takes no answer before the ID is read.
func (s *Session) answer(hello []byte) error {
	wrote := make(chan error, 1)
	go func() {
		_, err := s.Conn.Write(hello)
		wrote <- err
	}()
	_, err := io.ReadFull(s.Conn, s.PeerID[:])
	if werr := <-wrote; werr != nil {
		return werr
	}
	return closedEarly(err)
}

// finish notes what was agreed, and refuses this node itself.
func (s *Session) finish(how mode, o *Options) (*Session, error) {
	if s.PeerID == o.PeerID {
		return nil, ErrSelf
	}
	s.Obfuscated, s.Encrypted = how.obfuscated, how.encrypted
	return s, nil
}

// handshake is this node's side of the handshake.
func handshake(o *Options, infoHash [20]byte) []byte {
	bits := reserved(o.DHT)
	b := append(make([]byte, 0, handshakeLen), pp.Protocol...)
	b = append(b, bits[:]...)
	b = append(b, infoHash[:]...)
	return append(b, o.PeerID[:]...)
}

// closedEarly says of a peer that hung up what that means.
func closedEarly(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("peer closed the connection: %w", io.ErrUnexpectedEOF)
	}
	return err
}
