package wire

import (
	"bytes"
	"context"
	"errors"
	"expvar"
	"fmt"
	"iter"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anacrolix/torrent/mse"
)

// TestHostileMSE speaks MSE far enough to reach every step of the listener, and
// then sends rubbish.
func TestHostileMSE(t *testing.T) {
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) { hostileMSE(t, seed) })
	}
	if m, ok := expvar.Get(providesMap).(*expvar.Map); ok {
		n := 0
		m.Do(func(expvar.KeyValue) { n++ })
		if n > 0 {
			t.Errorf("%d numbers that peers made up are remembered", n)
		}
	}
}

// hostileMSE is the library's own initiator, whose bytes are spoilt from some
// place on, or who offers what does not exist.
func hostileMSE(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	_, in := both(Allow, Allow)
	a, b := net.Pipe()
	done := make(chan error)
	go func() {
		_, err := Accept(context.Background(), b, in)
		_ = b.Close()
		done <- err
	}()
	spoil := &spoiler{Conn: a, after: rnd.IntN(1200), rnd: rnd}
	start := time.Now()
	_ = a.SetDeadline(start.Add(time.Minute))
	_, _, _ = mse.InitiateHandshake(spoil, idSlice("two"), noise(rnd.IntN(300)), mse.CryptoMethod(rnd.Uint32()))
	if err := <-done; err == nil || time.Since(start) > DefaultTimeout {
		t.Errorf("seed %d: %v after %v", seed, err, time.Since(start))
	}
	_ = a.Close()
}

func idSlice(s string) []byte { b := id(s); return b[:] }

type spoiler struct {
	net.Conn
	after int
	rnd   *rand.Rand
}

func (s *spoiler) Write(b []byte) (int, error) {
	b = bytes.Clone(b)
	for i := range b {
		if s.after--; s.after < 0 {
			b[i] = byte(s.rnd.Uint32())
		}
	}
	return s.Conn.Write(b)
}

// TestHostileMSEAnswers are listeners that answer MSE with rubbish.
func TestHostileMSEAnswers(t *testing.T) {
	out, _ := both(Require, Require)
	for _, send := range [][]byte{nil, make([]byte, 96), make([]byte, 2000), bytes.Repeat([]byte{0xff}, 2000), noise(95), noise(96), noise(700), noise(5000)} {
		if err := answer(t, send, func(c net.Conn) error { _, err := Initiate(t.Context(), c, out); return err }); err == nil {
			t.Errorf("%d bytes accepted", len(send))
		}
	}
}

// TestManyTorrents finds the right one of many under MSE.
func TestManyTorrents(t *testing.T) {
	out, in := both(Require, Require)
	n := 0
	in.InfoHashes = iter.Seq[[20]byte](func(yield func([20]byte) bool) {
		for i := range 5000 {
			if n++; !yield(id(fmt.Sprint(i))) {
				return
			}
		}
	})
	in.Known = func([20]byte) bool { return true }
	out.InfoHash = id("4000")
	a, b := tcpPair(t)
	d, l := shake(a, b, out, in)
	if d.err != nil || l.err != nil || l.s.InfoHash != id("4000") || n != 4001 {
		t.Errorf("dialer %v, listener %v, %d tried", d.err, l.err, n)
	}
	// The hint and the handshake inside must name the same torrent.
	a, b = tcpPair(t)
	done := make(chan error)
	go func() {
		_, err := Accept(t.Context(), b, in)
		done <- err
		_ = b.Close()
	}()
	hello := handshake(&out, id("17"))
	if _, _, err := mse.InitiateHandshake(a, idSlice("4000"), hello, mse.CryptoMethodRC4); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, ErrInfoHash) {
		t.Errorf("hint and handshake differ: %v", err)
	}
}

// TestWriteAfterFailure must not reach the library's writer a second time,
// which has thrown its cipher away.
func TestWriteAfterFailure(t *testing.T) {
	out, in := both(Require, Require)
	a, b := tcpPair(t)
	d, l := shake(a, b, out, in)
	if d.err != nil || l.err != nil {
		t.Fatal(d.err, l.err)
	}
	_ = a.Close()
	for range 3 {
		if _, err := d.s.Conn.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
	}
}
