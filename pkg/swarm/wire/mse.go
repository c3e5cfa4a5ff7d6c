package wire

import (
	"bytes"
	"context"
	"errors"
	"expvar"
	"fmt"
	"io"
	"net"

	"github.com/anacrolix/torrent/mse"
)

// mode is what MSE agreed on; the zero value is a plain connection.
type mode struct {
	obfuscated, encrypted bool
	infoHash              [20]byte
}

// initiateMSE begins with MSE and sends hello inside its first flight. The
// connection it returns carries what the peer sends next.
func initiateMSE(conn net.Conn, o *Options, hello []byte) (net.Conn, mode, error) {
	// The library's own use of ctx leaves reads under way behind, so it gets one
	// that never ends; the connection's deadline ends it instead.
	rw, method, err := mse.InitiateHandshakeContext(context.Background(), conn, o.InfoHash[:], hello, o.methods())
	if err != nil {
		return nil, mode{}, mseError(err)
	}
	how := mode{obfuscated: true, encrypted: method == mse.CryptoMethodRC4}
	if !how.encrypted {
		return conn, how, nil
	}
	return &stream{Conn: conn, r: rw, w: rw}, how, nil
}

// acceptMSE takes up MSE that a peer began with the bytes in first.
func acceptMSE(conn net.Conn, first []byte, o *Options) (net.Conn, mode, error) {
	defer forgetProvides()
	in := &stream{Conn: conn, r: io.MultiReader(bytes.NewReader(bytes.Clone(first)), conn), w: conn}
	how := mode{obfuscated: true}
	keys := func(try func([]byte) bool) {
		for ih := range o.InfoHashes {
			if !try(ih[:]) {
				how.infoHash = ih
				return
			}
		}
	}
	choose := func(offered mse.CryptoMethod) mse.CryptoMethod {
		offered &= o.methods()
		if offered&mse.CryptoMethodPlaintext != 0 {
			return mse.CryptoMethodPlaintext
		}
		return offered
	}
	rw, method, err := mse.ReceiveHandshake(context.Background(), in, keys, choose)
	if err != nil {
		return nil, mode{}, mseError(err)
	}
	how.encrypted = method == mse.CryptoMethodRC4
	return &stream{Conn: conn, r: rw, w: rw, plainWrites: !how.encrypted}, how, nil
}

// methods are the ways of sending what follows the handshake that the policy
// allows.
func (o *Options) methods() mse.CryptoMethod {
	if o.Policy == Require {
		return mse.CryptoMethodRC4
	}
	return mse.AllSupportedCrypto
}

// mseError says whose fault a failed MSE handshake is: the connection's, or the
// peer's, which either speaks something else or wants an unknown torrent.
func mseError(err error) error {
	var ne net.Error
	switch {
	case errors.Is(err, mse.ErrNoSecretKeyMatch):
		return ErrInfoHash
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &ne), errors.Is(err, io.ErrClosedPipe):
		return closedEarly(err)
	}
	return fmt.Errorf("%w: %w", ErrHandshake, err)
}

// providesMap is the name under which the MSE library counts, in a map that
// grows with each number that a peer offers as its methods, for ever.
const providesMap = "mseCryptoProvides"

// forgetProvides empties that map, so that peers cannot fill the memory.
func forgetProvides() {
	if m, ok := expvar.Get(providesMap).(*expvar.Map); ok {
		m.Init()
	}
}
