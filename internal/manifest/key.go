package manifest

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"aead.dev/minisign"
	"golang.org/x/crypto/blake2b"
)

// maxKeyFile bounds the size of key files, in bytes.
const maxKeyFile = 4 << 10

// PublicKey verifies signatures. Two keys are the same when their String is.
// The zero value verifies nothing.
type PublicKey struct {
	key   minisign.PublicKey
	valid bool
}

// PrivateKey makes signatures. The zero value must not be used.
type PrivateKey struct{ key minisign.PrivateKey }

// GenerateKey makes a new key.
func GenerateKey() (PrivateKey, error) {
	_, k, err := minisign.GenerateKey(nil)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("generate key: %w", err)
	}
	return PrivateKey{k}, nil
}

// ParsePublicKey reads a public key: the text of a minisign .pub file, or its
// second line alone, which is the key in base64.
func ParsePublicKey(text string) (PublicKey, error) {
	if len(text) > maxKeyFile {
		return PublicKey{}, fmt.Errorf("public key: %w: longer than %d bytes", ErrMalformed, maxKeyFile)
	}
	line := strings.TrimSpace(text)
	if comment, rest, ok := strings.Cut(line, "\n"); ok && strings.HasPrefix(comment, "untrusted comment:") {
		line = rest
	}
	var k PublicKey
	err := k.key.UnmarshalText([]byte(line))
	if err == nil && k.key.String() != line {
		err = errors.New("there is more than one line of base64")
	}
	if err != nil {
		return PublicKey{}, fmt.Errorf("public key: %w (want a minisign public key: 56 characters that begin with RW): %w", ErrMalformed, err)
	}
	k.valid = true
	return k, nil
}

// String returns the key in base64, as in the second line of its file; "" for
// the zero value.
func (k PublicKey) String() string {
	if !k.valid {
		return ""
	}
	return k.key.String()
}

// ID returns the number by which minisign names the key, in its spelling.
func (k PublicKey) ID() string { return keyID(k.key.ID()) }

func keyID(id uint64) string { return fmt.Sprintf("%016X", id) }

// File returns the text of the key's minisign .pub file.
func (k PublicKey) File() []byte {
	return fmt.Appendf(nil, "untrusted comment: minisign public key %s\n%s\n", k.ID(), k)
}

// Public returns the public half of the key.
func (k PrivateKey) Public() PublicKey {
	pub, ok := k.key.Public().(minisign.PublicKey)
	return PublicKey{key: pub, valid: ok}
}

// Offsets in minisign's secret key: algorithm, key derivation, checksum
// algorithm (2 bytes each), salt and costs (48), key number and secret (72),
// checksum (32).
const (
	secretAt   = 54
	checksumAt = 126
	secretSize = 158
)

// File returns the text of the key's file, which is not encrypted. The stock
// minisign reads it: unlike the library it wants the checksum there even
// without encryption.
func (k PrivateKey) File() ([]byte, error) {
	text, err := k.key.MarshalText()
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	_, line, _ := bytes.Cut(text, []byte("\n"))
	raw, err := base64.StdEncoding.DecodeString(string(line))
	if err != nil || len(raw) != secretSize {
		return nil, errors.New("private key: the library wrote a form that is not known")
	}
	sum := secretChecksum(raw)
	copy(raw[checksumAt:], sum[:])
	return fmt.Appendf(nil, "untrusted comment: minisign secret key %s\n%s\n", keyID(k.key.ID()), base64.StdEncoding.EncodeToString(raw)), nil
}

// secretChecksum returns the checksum of a decoded secret key: over its
// algorithm, key number and secret.
func secretChecksum(raw []byte) [blake2b.Size256]byte {
	msg := binary.LittleEndian.AppendUint16(nil, minisign.EdDSA)
	return blake2b.Sum256(append(msg, raw[secretAt:checksumAt]...))
}

func parsePrivateKey(text []byte) (PrivateKey, error) {
	text = bytes.TrimSpace(text)
	if minisign.IsEncrypted(text) {
		return PrivateKey{}, errors.New("is encrypted with a password: distd runs unattended and needs it without (minisign -C -W -s FILE takes the password away)")
	}
	var k PrivateKey
	if err := k.key.UnmarshalText(text); err != nil {
		return PrivateKey{}, fmt.Errorf("%w (want a minisign secret key): %w", ErrMalformed, err)
	}
	// The second half of the secret is the public key. A file that was
	// damaged would sign what nobody can verify.
	const probe = "distd"
	if err := k.Public().Verify([]byte(probe), Sign(k, []byte(probe), "")); err != nil {
		return PrivateKey{}, fmt.Errorf("%w: the halves of the key do not belong together", ErrMalformed)
	}
	return k, nil
}

// Sign returns the signature of msg, the text of a .minisig file. The comment
// is covered by the signature and shown by "minisign -V".
func Sign(k PrivateKey, msg []byte, trustedComment string) []byte {
	// A line break would end the comment and begin a line of its own.
	trustedComment = strings.NewReplacer("\n", " ", "\r", " ").Replace(trustedComment)
	r := minisign.NewReader(bytes.NewReader(msg))
	// Reading a byte slice to its end into nothing cannot fail.
	_, _ = io.Copy(io.Discard, r)
	return r.SignWithComments(k.key, trustedComment, "signature from distd key "+keyID(k.key.ID()))
}

// Verify checks sig, the text of a .minisig file, against msg. Errors wrap
// ErrSignature or ErrKey.
func (k PublicKey) Verify(msg, sig []byte) error {
	if !k.valid {
		return fmt.Errorf("%w: no key to check it with", ErrKey)
	}
	s, err := parseSignature(sig)
	if err != nil {
		return err
	}
	if s.KeyID != k.key.ID() {
		return fmt.Errorf("%w: %s signed it, %s is trusted", ErrKey, keyID(s.KeyID), k.ID())
	}
	if !minisign.Verify(k.key, msg, sig) {
		return fmt.Errorf("%w: the data is not what key %s signed", ErrSignature, k.ID())
	}
	return nil
}

func parseSignature(sig []byte) (s minisign.Signature, err error) {
	if len(sig) > MaxSignature {
		return s, fmt.Errorf("%w: it is longer than %d bytes", ErrSignature, MaxSignature)
	}
	if err := s.UnmarshalText(sig); err != nil {
		return s, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return s, nil
}
