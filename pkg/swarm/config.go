package swarm

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"time"

	"go.uber.org/zap"

	"distd/internal/layout"
	"distd/pkg/swarm/bitmap"
	"distd/pkg/swarm/wire"
)

// Config is how an Engine works. The zero value of a field means its default.
type Config struct {
	// Listener takes connections of peers; nil means that the engine only dials.
	// Run closes it.
	Listener net.Listener
	// PeerID names this node to others; it must be unique in the swarm.
	PeerID [20]byte
	// Port is what peers are told to dial: the listener's when 0.
	Port uint16
	// DHTPort is the UDP port of this node's DHT, which peers are told that have one
	// as well (BEP 5); 0 means that there is none.
	DHTPort uint16
	// OnDHTNode is told where the DHT of a peer is, once for each connection: at the
	// peer's address, which AllowPeer allows, and the port that it named. It is
	// called from several goroutines and must not wait; nil means that nobody wants
	// to know.
	OnDHTNode func(netip.AddrPort)
	// Encryption says whether peers may or must encrypt; the default is Off.
	Encryption wire.Policy
	// Secure protects all connections to peers, and refuses those that do not want
	// it; nil means none. Encryption must be Off with it.
	Secure Secure
	// MaxConns bounds the connections in all (default 1000),
	// MaxConnsPerTorrent those of one torrent (default 300). SetMaxConns changes
	// them.
	MaxConns, MaxConnsPerTorrent int
	// Memory bounds the bytes of pieces that are being fetched or verified, of
	// all torrents together (default 24 MiB).
	Memory int64
	// Up and Down bound what is sent to peers and received from them, in bytes of
	// content; nil means no limit. What Deliver brings does not count here.
	Up, Down Limiter
	// UploadSlots is how many peers are sent blocks at once (default 16).
	UploadSlots int
	// AllowPeer says whether an address may be dialled, accepted, stored and passed
	// on; nil allows all.
	AllowPeer func(netip.Addr) bool
	// KeptOut is told of each peer that is kept out, because AllowPeer says so or
	// for the name of its zone, and of what named it: one of the sources of
	// AddPeers, SourcePEX, SourceIncoming, SourceDial or SourceHandshake. It must
	// not wait; nil means nobody.
	KeptOut func(source string, addr netip.AddrPort)
	// Zone is the name of the zone that this node is in. It is sent to other distd,
	// and one that sends another name is hung up on; "" compares nothing.
	Zone string
	// Dial opens a connection to a peer; nil means plain TCP.
	Dial func(context.Context, netip.AddrPort) (net.Conn, error)
	// Tune sets options of a peer's connection once the handshake is done, in
	// both directions; nil means none. It must not wait.
	Tune func(net.Conn)
	// Version is the client's name and version, as peers see it.
	Version string
	// Log receives what operators want to know; nil means silence.
	Log *zap.Logger
	// HandshakeTimeout bounds dialling and shaking hands (default 10 s),
	// IdleTimeout the silence of a peer (default 3 min).
	HandshakeTimeout, IdleTimeout time.Duration
	// SyncEvery is how often pieces are made durable while downloading
	// (default 5 s).
	SyncEvery time.Duration
	// Workers is how many pieces are verified and written at once (default: one
	// for each processor).
	Workers int

	// recheckEvery is how often it is tried whether an unreadable piece can be
	// read again.
	recheckEvery time.Duration
	// partnerTime is how long two directing seeds without leaves stay connected.
	partnerTime time.Duration
	// docsTime is how long documents stay in memory after a peer asked for them.
	docsTime time.Duration
}

func (c *Config) setDefaults() {
	def(&c.MaxConns, 1000)
	def(&c.MaxConnsPerTorrent, 300)
	def(&c.Memory, 24<<20)
	def(&c.UploadSlots, 16)
	def(&c.HandshakeTimeout, 10*time.Second)
	def(&c.IdleTimeout, 3*time.Minute)
	def(&c.SyncEvery, 5*time.Second)
	def(&c.recheckEvery, time.Minute)
	def(&c.partnerTime, 10*time.Second)
	def(&c.docsTime, docsTime)
	def(&c.Workers, runtime.GOMAXPROCS(0))
	if c.AllowPeer == nil {
		c.AllowPeer = func(netip.Addr) bool { return true }
	}
	if c.KeptOut == nil {
		c.KeptOut = func(string, netip.AddrPort) {}
	}
	if c.Version == "" {
		c.Version = "distd"
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	if c.Port == 0 && c.Listener != nil {
		if a, ok := c.Listener.Addr().(*net.TCPAddr); ok {
			c.Port = uint16(a.Port)
		}
	}
	if c.Dial == nil {
		c.Dial = func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", a.String())
		}
	}
}

func def[T int | int64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// PieceStore is where a torrent's verified pieces lie. Its methods are called
// from several goroutines at once. If it has a method CloseIdle, that is called
// when no peer is left, so that an idle torrent has no file open.
type PieceStore interface {
	// Have is a copy of the set of pieces that are there.
	Have() *bitmap.Bitmap
	// WritePiece stores piece i, which has been verified. A full disk is an
	// error that errors.Is finds to be ENOSPC or that has a NoSpace method; it
	// may be called again later. data may be reused after return.
	WritePiece(i int, data []byte) error
	// ReadAt fills buf with the bytes at begin of the piece.
	ReadAt(buf []byte, piece int, begin int64) error
	// Sync makes what was written durable, and remembers it.
	Sync(ctx context.Context) error
}

// FileStore is a PieceStore whose bytes can be sent straight from a file.
type FileStore interface {
	// FileRange finds the n bytes at begin of the piece. ok is false when they
	// do not lie in one file. release must be called when the file is no longer
	// used.
	FileRange(piece int, begin, n int64) (f *os.File, off int64, ok bool, release func())
}

// Spec describes a torrent.
type Spec struct {
	InfoHash [20]byte
	// Name is for logs.
	Name   string
	Layout *layout.Layout
	// InfoBytes is the torrent's info dictionary, for peers that came by a
	// magnet link; nil when it is not to be had here.
	InfoBytes []byte
	// Release is the release's ID, 64 hex digits, which peers are told; "" for a
	// torrent that is none.
	Release string
	// Documents loads what belongs to the release beside its content, for peers
	// that are distd: 64 MiB at most. nil means that there is nothing. It is called
	// when a peer asks, in a goroutine of its own, and again when the answer was
	// forgotten meanwhile; it must not be changed after return.
	Documents func() ([]byte, error)
	// Verify says whether data is the content of the piece. It is called from
	// several goroutines at once.
	Verify func(piece int, data []byte) bool
	Store  PieceStore
	// Private has the swarm's peers come from those who call AddPeers alone (BEP 27):
	// peers are told of no others and of no DHT, and what they tell of them counts
	// for nothing.
	Private bool
	// Want says which pieces are to be fetched; nil means all. Of others, those
	// that are there are sent to peers.
	Want func(piece int) bool
	// Directing makes this node a directing seed: it advertises nothing
	// wholesale but shows each peer a few pieces at a time.
	Directing bool
	// OneCopy is for content of which mirrors should bring one copy to all who
	// fetch it there: what peers have, or fetch from mirrors themselves, is left
	// to them as long as they bring it.
	OneCopy bool
	// Fetchers is how many others are expected to fetch it from mirrors at the
	// same time. The first Claim waits for a moment to meet them.
	Fetchers int
	// Priority decides between torrents, the higher first; a newer release has
	// the higher.
	Priority uint64
	// Up and Down are limits that hold besides the engine's, as for all torrents
	// of one channel; nil means none.
	Up, Down Limiter
	// MirrorLimit is a limit of what the Torrent's other sources bring, for which
	// they wait themselves: here it only explains what they wait for.
	MirrorLimit Limiter
}

func (s *Spec) check() error {
	switch {
	case s.Layout == nil:
		return errors.New("no layout")
	case s.Verify == nil:
		return errors.New("nothing to verify pieces by")
	case s.Store == nil:
		return errors.New("no store for the pieces")
	}
	return nil
}

// ErrClosed is returned for a torrent or an engine that has been closed.
var ErrClosed = errors.New("torrent is closed")
