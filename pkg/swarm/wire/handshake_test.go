package wire

import (
	"bytes"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	pp "github.com/anacrolix/torrent/peer_protocol"
)

func id(s string) [20]byte { return sha1.Sum([]byte(s)) }

// both are the options of two nodes of which the second serves three torrents.
func both(p, q Policy) (out, in Options) {
	known := [][20]byte{id("one"), id("two"), id("three")}
	out = Options{PeerID: id("dialer"), InfoHash: id("two"), Policy: p}
	in = Options{
		PeerID: id("listener"), Policy: q, DHT: true,
		Known:      func(ih [20]byte) bool { return slices.Contains(known, ih) },
		InfoHashes: func(yield func([20]byte) bool) { slices.Values(known)(yield) },
	}
	return out, in
}

type result struct {
	s   *Session
	err error
}

// shake does a handshake between the two ends of a connection. Who fails
// closes its end, as a node does.
func shake(a, b net.Conn, out, in Options) (dialer, listener result) {
	done := make(chan result)
	go func() {
		s, err := Accept(context.Background(), b, in)
		if err != nil {
			_ = b.Close()
		}
		done <- result{s, err}
	}()
	s, err := Initiate(context.Background(), a, out)
	if err != nil {
		_ = a.Close()
	}
	return result{s, err}, <-done
}

// talk sends messages and blocks both ways over two sessions.
func talk(t *testing.T, a, b *Session) {
	t.Helper()
	data := noise(32 << 10)
	f := tempFile(t, data)
	errs := make(chan error, 2)
	for _, dir := range [][2]*Session{{a, b}, {b, a}} {
		go func() {
			w := NewWriter(dir[0].Conn, WriterConfig{Timeout: time.Minute})
			for i := range uint32(10) {
				w.SendIndex(Have, i)
				w.SendBlock(Block{i, 0, 32 << 10}, data, nil)
				w.SendFile(Block{i, 0, 32 << 10}, f, 0, nil)
			}
			errs <- w.Flush()
		}()
	}
	for _, s := range []*Session{a, b} {
		r := NewReader(s.Conn, ReaderConfig{Limits: limits(), Timeout: time.Minute})
		var m Message
		for range 30 {
			if err := r.Next(&m); err != nil || m.Type == Piece && !bytes.Equal(m.Data, data) {
				t.Fatalf("%v differs: %v", m.Type, err)
			}
		}
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
}

// TestPolicies tries every pair of policies, over sockets and pipes.
func TestPolicies(t *testing.T) {
	type want struct {
		obfuscated, encrypted bool
		dialer, listener      error
	}
	plain, enc, half := want{}, want{obfuscated: true, encrypted: true}, want{obfuscated: true}
	for _, c := range []struct {
		out, in   Policy
		obfuscate bool
		want      want
	}{
		{Off, Off, false, plain},
		{Off, Off, true, plain},
		{Off, Allow, false, plain},
		{Off, Require, false, want{dialer: io.ErrUnexpectedEOF, listener: ErrPlain}},
		{Allow, Off, false, plain},
		{Allow, Off, true, want{dialer: io.ErrUnexpectedEOF, listener: ErrEncrypted}},
		{Allow, Allow, false, plain},
		{Allow, Allow, true, half},
		{Allow, Require, false, want{dialer: io.ErrUnexpectedEOF, listener: ErrPlain}},
		{Allow, Require, true, enc},
		{Require, Off, false, want{dialer: io.ErrUnexpectedEOF, listener: ErrEncrypted}},
		{Require, Allow, false, enc},
		{Require, Require, false, enc},
	} {
		for name, pair := range map[string]func() (net.Conn, net.Conn){
			"tcp":  func() (net.Conn, net.Conn) { return tcpPair(t) },
			"pipe": net.Pipe,
		} {
			t.Run(fmt.Sprintf("%s/%s to %s %v", name, c.out, c.in, c.obfuscate), func(t *testing.T) {
				out, in := both(c.out, c.in)
				out.Obfuscate = c.obfuscate
				a, b := pair()
				defer func() { _, _ = a.Close(), b.Close() }()
				d, l := shake(a, b, out, in)
				if c.want.listener != nil {
					if !errors.Is(l.err, c.want.listener) || d.err == nil || d.s != nil || l.s != nil {
						t.Fatalf("dialer %v, listener %v", d.err, l.err)
					}
					return
				}
				if d.err != nil || l.err != nil {
					t.Fatalf("dialer %v, listener %v", d.err, l.err)
				}
				for _, s := range []*Session{d.s, l.s} {
					if s.Obfuscated != c.want.obfuscated || s.Encrypted != c.want.encrypted || s.InfoHash != id("two") || !s.Fast || !s.Extensions || s.DHT {
						t.Errorf("session %+v", s)
					}
				}
				if d.s.PeerID != id("listener") || l.s.PeerID != id("dialer") || d.s.Incoming || !l.s.Incoming {
					t.Error("peer IDs or directions")
				}
				if sends := NewWriter(l.s.Conn, WriterConfig{}).SendsFiles(); sends != (name == "tcp" && !c.want.encrypted) {
					t.Errorf("listener sends files: %v", sends)
				}
				talk(t, d.s, l.s)
			})
		}
	}
}

func TestPolicyNames(t *testing.T) {
	for _, p := range []Policy{Off, Allow, Require} {
		if got, err := ParsePolicy(p.String()); err != nil || got != p {
			t.Errorf("%v: %v %v", p, got, err)
		}
	}
	if _, err := ParsePolicy("maybe"); err == nil {
		t.Error("accepted")
	}
}

func TestRefusedTorrents(t *testing.T) {
	for _, p := range []Policy{Allow, Require} {
		out, in := both(p, Allow)
		out.InfoHash = id("four")
		a, b := tcpPair(t)
		d, l := shake(a, b, out, in)
		if !errors.Is(l.err, ErrInfoHash) || !errors.Is(l.err, ErrHandshake) || d.err == nil {
			t.Errorf("%v, unknown torrent: dialer %v, listener %v", p, d.err, l.err)
		}
		out, in = both(p, Allow)
		in.PeerID = out.PeerID
		a, b = tcpPair(t)
		if d, l = shake(a, b, out, in); !errors.Is(l.err, ErrSelf) && !errors.Is(d.err, ErrSelf) {
			t.Errorf("%v, self: dialer %v, listener %v", p, d.err, l.err)
		}
	}
}

// answer does a handshake against bytes that are sent whatever comes.
func answer(t *testing.T, send []byte, do func(net.Conn) error) error {
	t.Helper()
	a, b := net.Pipe()
	defer func() { _ = a.Close() }()
	go func() {
		_, _ = b.Write(send)
		_ = b.Close()
	}()
	go func() { _, _ = io.Copy(io.Discard, b) }()
	return do(a)
}

func TestHandshakesThatAreNot(t *testing.T) {
	out, in := both(Allow, Allow)
	accept := func(c net.Conn) error { _, err := Accept(t.Context(), c, in); return err }
	initiate := func(c net.Conn) error { _, err := Initiate(t.Context(), c, out); return err }
	good := handshake(&out, id("two"))
	for n := range good {
		if err := answer(t, good[:n], accept); !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.ErrClosedPipe) {
			t.Fatalf("cut after %d bytes, accepting: %v", n, err)
		}
		if err := answer(t, good[:n], initiate); err == nil {
			t.Fatalf("cut after %d bytes, initiating", n)
		}
	}
	other := handshake(&out, id("one"))
	if err := answer(t, other, initiate); !errors.Is(err, ErrInfoHash) {
		t.Errorf("answer for another torrent: %v", err)
	}
	if err := answer(t, noise(handshakeLen), initiate); !errors.Is(err, ErrHandshake) {
		t.Errorf("noise as answer: %v", err)
	}
	for _, n := range []int{96, 500, 4096} {
		if err := answer(t, noise(n), accept); err == nil {
			t.Errorf("%d bytes of noise accepted", n)
		}
	}
	in.InfoHashes = nil
	if err := answer(t, noise(200), accept); !errors.Is(err, ErrEncrypted) {
		t.Errorf("MSE without torrents to try: %v", err)
	}
}

// TestNATCheck answers a tracker that tests the port: it sends no peer ID and
// waits for this node's handshake.
func TestNATCheck(t *testing.T) {
	out, in := both(Off, Allow)
	a, b := tcpPair(t)
	done := make(chan error)
	go func() {
		_, err := Accept(t.Context(), b, in)
		done <- err
	}()
	if _, err := a.Write(handshake(&out, id("two"))[:headLen]); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, handshakeLen)
	if _, err := io.ReadFull(a, got); err != nil || [20]byte(got[headLen:]) != in.PeerID {
		t.Fatalf("answer %q: %v", got, err)
	}
	_ = a.Close()
	if err := <-done; err == nil {
		t.Error("a peer without an ID was accepted")
	}
}

// TestSilentPeers ends handshakes in time, whatever the peer leaves out.
func TestSilentPeers(t *testing.T) {
	for _, p := range []Policy{Off, Allow, Require} {
		for _, n := range []int{0, 1, 19, 20, 47, 48, 67, 96, 100} {
			synctest.Test(t, func(t *testing.T) {
				out, in := both(p, p)
				in.Timeout, out.Timeout = 5*time.Second, 5*time.Second
				for name, do := range map[string]func(net.Conn) error{
					"accept":   func(c net.Conn) error { _, err := Accept(t.Context(), c, in); return err },
					"initiate": func(c net.Conn) error { _, err := Initiate(t.Context(), c, out); return err },
				} {
					a, b := net.Pipe()
					send := handshake(&out, id("two"))
					if p == Require {
						send = noise(100)
					}
					go func() { _, _ = b.Write(send[:min(n, len(send))]) }()
					start := time.Now()
					err := do(a)
					took := time.Since(start)
					if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, ErrPlain) && !errors.Is(err, ErrEncrypted) || took > 5*time.Second {
						t.Errorf("%s under %s, %d bytes: %v after %v", name, p, n, err, took)
					}
					_, _ = a.Close(), b.Close()
				}
			})
		}
	}
}

// TestTricklingPeer sends a byte now and then: the time is for all of it.
func TestTricklingPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, in := both(Allow, Allow)
		a, b := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for _, c := range noise(5000) {
				time.Sleep(time.Second)
				if _, err := b.Write([]byte{c}); err != nil {
					return
				}
			}
		}()
		start := time.Now()
		_, err := Accept(t.Context(), a, in)
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != DefaultTimeout {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		_, _ = a.Close(), b.Close()
		<-done
	})
}

func TestHandshakeEndsWithContext(t *testing.T) {
	for _, p := range []Policy{Off, Require} {
		synctest.Test(t, func(t *testing.T) {
			out, _ := both(p, p)
			a, b := net.Pipe()
			defer func() { _, _ = a.Close(), b.Close() }()
			why := errors.New("shutting down")
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				time.Sleep(time.Second)
				cancel(why)
			}()
			start := time.Now()
			if _, err := Initiate(ctx, a, out); !errors.Is(err, why) || time.Since(start) != time.Second {
				t.Errorf("%s: %v after %v", p, err, time.Since(start))
			}
		})
	}
}

// TestNoDeadlineIsLeft reads long after a handshake.
func TestNoDeadlineIsLeft(t *testing.T) {
	for _, p := range []Policy{Off, Require} {
		synctest.Test(t, func(t *testing.T) {
			out, in := both(p, p)
			a, b := net.Pipe()
			defer func() { _, _ = a.Close(), b.Close() }()
			d, l := shake(a, b, out, in)
			if d.err != nil || l.err != nil {
				t.Fatal(d.err, l.err)
			}
			time.Sleep(time.Hour)
			talk(t, d.s, l.s)
		})
	}
}

// TestPanicsBecomeErrors covers for libraries that meet input they do not expect.
func TestPanicsBecomeErrors(t *testing.T) {
	out, _ := both(Off, Off)
	a, b := tcpPair(t)
	_, err := within(t.Context(), a, &out, func(net.Conn, *Options) (*Session, error) { panic("wat") })
	if !errors.Is(err, ErrHandshake) {
		t.Error(err)
	}
	_ = b
}

func TestReservedBits(t *testing.T) {
	if b := pp.PeerExtensionBits(reserved(true)); !b.SupportsFast() || !b.SupportsExtended() || !b.SupportsDHT() {
		t.Errorf("%v", b)
	}
	out, in := both(Off, Off)
	out.DHT = true
	a, b := tcpPair(t)
	if d, l := shake(a, b, out, in); d.err != nil || l.err != nil || !d.s.DHT || !l.s.DHT {
		t.Errorf("DHT on both sides: %+v %+v", d, l)
	}
}

// FuzzAccept hands any bytes to a listener.
func FuzzAccept(f *testing.F) {
	out, in := both(Allow, Allow)
	f.Add(handshake(&out, id("two")))
	f.Add(noise(700))
	f.Add([]byte("\x13BitTorrent protocol"))
	f.Add(make([]byte, 1000))
	f.Fuzz(func(t *testing.T, b []byte) {
		in.Timeout = time.Minute
		conn := &scripted{Reader: bytes.NewReader(b)}
		s, err := Accept(t.Context(), conn, in)
		if err == nil && (len(b) < handshakeLen || !in.Known(s.InfoHash)) {
			t.Fatalf("%q accepted", b)
		}
	})
}

// FuzzInitiate hands any bytes to a dialer as the answer.
func FuzzInitiate(f *testing.F) {
	out, in := both(Allow, Allow)
	f.Add(handshake(&in, id("two")), false)
	f.Add(noise(700), true)
	f.Add(make([]byte, 1000), true)
	f.Fuzz(func(t *testing.T, b []byte, encrypt bool) {
		out.Obfuscate, out.Timeout = encrypt, time.Minute
		s, err := Initiate(t.Context(), &scripted{Reader: bytes.NewReader(b)}, out)
		if err == nil && (len(b) < handshakeLen || s.InfoHash != out.InfoHash) {
			t.Fatalf("%q accepted", b)
		}
	})
}

// scripted is a connection whose peer says one thing and hears nothing.
type scripted struct {
	net.Conn
	io.Reader
}

func (s *scripted) Read(b []byte) (int, error)  { return s.Reader.Read(b) }
func (s *scripted) Write(b []byte) (int, error) { return len(b), nil }
func (s *scripted) SetDeadline(time.Time) error { return nil }
func (s *scripted) RemoteAddr() net.Addr        { return &net.TCPAddr{} }
