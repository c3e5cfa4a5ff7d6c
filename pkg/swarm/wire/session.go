package wire

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"strings"
	"time"

	pp "github.com/anacrolix/torrent/peer_protocol"
)

// Policy says what a node does about Message Stream Encryption.
type Policy int

// Policies. The zero value is Off.
const (
	// Off speaks plain BitTorrent and refuses peers that encrypt.
	Off Policy = iota
	// Allow answers each peer in its own way and begins plainly itself, unless
	// Options.Obfuscate asks otherwise. Where the peer leaves the choice, only
	// the handshake is obfuscated and the rest is plain.
	Allow
	// Require refuses plain peers and encrypts everything with RC4.
	Require
)

var policyNames = []string{"off", "allow", "require"}

// String is the policy as in configuration: off, allow or require.
func (p Policy) String() string {
	if p < 0 || int(p) >= len(policyNames) {
		return fmt.Sprintf("policy %d", int(p))
	}
	return policyNames[p]
}

// ParsePolicy reads what String writes.
func ParsePolicy(s string) (Policy, error) {
	for i, n := range policyNames {
		if n == s {
			return Policy(i), nil
		}
	}
	return Off, fmt.Errorf("encryption policy %.32q is none of %s", s, strings.Join(policyNames, ", "))
}

// Reasons why a handshake fails, beyond errors of the connection and
// ErrHandshake, which all but the first two and ErrSelf are kinds of.
var (
	// ErrEncrypted is a peer's wish for encryption where the policy is Off.
	ErrEncrypted = errors.New("peer wants encryption, which is off here")
	// ErrPlain is a peer's plain handshake where the policy is Require.
	ErrPlain = errors.New("peer does not encrypt, which is required here")
	// ErrSelf is a connection of this node to itself.
	ErrSelf = errors.New("peer is this node itself")
	// ErrHandshake is a handshake that follows neither protocol.
	ErrHandshake = errors.New("peer's handshake is not BitTorrent's")
	// ErrInfoHash is a handshake for a torrent that is not known here, or not
	// the one that was asked for.
	ErrInfoHash = fmt.Errorf("%w: unknown infohash", ErrHandshake)
)

// DefaultTimeout is how long a handshake may take in all.
const DefaultTimeout = 15 * time.Second

// Options of a handshake.
type Options struct {
	// PeerID is this node's.
	PeerID [20]byte
	// InfoHash is the torrent that Initiate asks for.
	InfoHash [20]byte
	// Policy is the rule about encryption.
	Policy Policy
	// Obfuscate makes Initiate begin with MSE under Allow: for the second try
	// at a peer that closed the connection on a plain one.
	Obfuscate bool
	// Known says to Accept whether a torrent is served here.
	Known func(infoHash [20]byte) bool
	// InfoHashes yields the torrents served here: under MSE the peer only hints
	// at the infohash, and each is tried. nil refuses MSE.
	InfoHashes iter.Seq[[20]byte]
	// DHT sets the bit of BEP 5. The bits of BEP 6 and BEP 10 are always set.
	DHT bool
	// Timeout is how long the handshake may take in all; 0 means DefaultTimeout.
	Timeout time.Duration
}

func (o *Options) timeout() time.Duration {
	if o.Timeout <= 0 {
		return DefaultTimeout
	}
	return o.Timeout
}

// Session is a connection after its handshake.
type Session struct {
	// Conn carries the messages and is what NewReader and NewWriter take: the
	// connection that was handed in when its bytes are plain, and else one that
	// encrypts on top of it. Deadlines and Close work on either.
	Conn     net.Conn
	PeerID   [20]byte // the peer's
	InfoHash [20]byte
	Reserved [8]byte // the peer's bits, as they came
	// Fast, Extensions and DHT are what both sides speak: BEP 6, 10 and 5.
	Fast, Extensions, DHT bool
	// Obfuscated says that the handshake went through MSE, Encrypted that all
	// that follows does too.
	Obfuscated, Encrypted bool
	// Incoming says that the peer opened the connection.
	Incoming bool
}

func reserved(dht bool) [8]byte {
	b := pp.NewPeerExtensionBytes(pp.ExtensionBitFast, pp.ExtensionBitLtep)
	b.SetBit(pp.ExtensionBitDht, dht)
	return b
}

func newSession(conn net.Conn, head []byte, o *Options) *Session {
	s := &Session{Conn: conn}
	copy(s.Reserved[:], head[len(pp.Protocol):])
	copy(s.InfoHash[:], head[len(pp.Protocol)+8:])
	bits := pp.PeerExtensionBits(s.Reserved)
	s.Fast, s.Extensions, s.DHT = bits.SupportsFast(), bits.SupportsExtended(), bits.SupportsDHT() && o.DHT
	return s
}

// stream is a connection whose bytes come and go by way of others: decrypted,
// or read ahead.
type stream struct {
	net.Conn
	r io.Reader
	w io.Writer
	// plainWrites says that writing needs no way round: Conn may be written to.
	plainWrites bool
	err         error // of the first write that failed
}

func (s *stream) Read(b []byte) (int, error) { return s.r.Read(b) }

// Write fails for good once it has failed: a cipher's state is ahead of the
// peer's then, and the library's writer must not be called again.
func (s *stream) Write(b []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.w.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	s.err = err
	return n, err
}
