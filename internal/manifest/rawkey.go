package manifest

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"aead.dev/minisign"
)

// rawKeyAt is where the ed25519 key lies in a minisign public key: behind the
// algorithm (2 bytes) and the key's number (8).
const rawKeyAt = 10

// Raw is the bare ed25519 key, which is what a mutable item names its publisher
// by (BEP 44); zero for the zero value.
func (k PublicKey) Raw() (raw [ed25519.PublicKeySize]byte) {
	b, err := base64.StdEncoding.DecodeString(k.String())
	if err != nil || len(b) != rawKeyAt+len(raw) {
		return raw
	}
	return [ed25519.PublicKeySize]byte(b[rawKeyAt:])
}

// NumberedKey makes a bare ed25519 key, as a link may name it (BEP 46), into
// the one that verifies sig, the text of a .minisig file: minisign wants the
// number by which its signatures name their key. Number and key have nothing to
// do with each other, so it does not matter whence the number is: whatever the
// result verifies, the holder of raw has signed. Errors wrap ErrSignature.
func NumberedKey(raw [ed25519.PublicKeySize]byte, sig []byte) (PublicKey, error) {
	s, err := parseSignature(sig)
	if err != nil {
		return PublicKey{}, err
	}
	b := binary.LittleEndian.AppendUint16(nil, minisign.EdDSA)
	b = binary.LittleEndian.AppendUint64(b, s.KeyID)
	return ParsePublicKey(base64.StdEncoding.EncodeToString(append(b, raw[:]...)))
}

// signRaw makes the plain ed25519 signature of msg, without minisign's prehash
// and comment. A message must not be what a signature of Sign is over: those are
// over 64 bytes of hash, or of signature with the comment behind them.
func signRaw(k PrivateKey, msg []byte) (sig [ed25519.SignatureSize]byte, err error) {
	var s minisign.Signature
	if err := s.UnmarshalText(minisign.SignWithComments(k.key, msg, "", "")); err != nil {
		return sig, fmt.Errorf("the library made a signature that it cannot read: %w", err)
	}
	return s.Signature, nil
}
