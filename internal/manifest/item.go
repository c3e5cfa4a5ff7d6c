package manifest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"distd/internal/names"
	"distd/pkg/torrentfile"
)

// Bounds of an item, in bytes. Those of value and salt are BEP 44's.
const (
	MaxItem      = 2 << 10 // of the file form
	MaxItemValue = 1000
	MaxItemSalt  = 64
)

// ItemFile is the name under which an item lies beside its release's manifest.
const ItemFile = "item.bep44"

// Item is a channel's mutable item for a DHT (BEP 44): it says, signed by the
// publisher, which torrent is the channel's newest release (BEP 46). The salt is
// the channel's name and the sequence number the release's serial, so that a
// DHT keeps the item of the newest release and no older one takes its place.
type Item struct {
	Channel  string            // the salt
	Serial   uint64            // the sequence number
	InfoHash [sha1.Size]byte   // "ih" of the value
	Manifest [sha256.Size]byte // "m": the release's ID; zero when the value has none
	Key      [ed25519.PublicKeySize]byte
	Sig      [ed25519.SignatureSize]byte

	// foreign is the value as it was signed when it says more than the fields.
	foreign string
}

// SignItem makes the item of the release that the pointer points at.
func SignItem(key PrivateKey, p *Pointer) (*Item, error) {
	i, err := itemOf(p)
	if err == nil {
		i.Key = key.Public().Raw()
		i.Sig, err = signRaw(key, i.signed())
	}
	if err != nil {
		return nil, fmt.Errorf("item: %w", err)
	}
	return i, nil
}

// itemOf is the pointer's item without key and signature.
func itemOf(p *Pointer) (*Item, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	i := &Item{Channel: p.Channel, Serial: p.Serial}
	if _, err := hex.Decode(i.InfoHash[:], []byte(p.InfoHash)); err != nil {
		return nil, err
	}
	_, err := hex.Decode(i.Manifest[:], []byte(p.Manifest))
	return i, err
}

// Matches says whether the item leads to the release that the pointer points
// at.
func (i *Item) Matches(p *Pointer) error {
	want, err := itemOf(p)
	if err != nil {
		return fmt.Errorf("item: %w", err)
	}
	if i.Channel != want.Channel || i.Serial != want.Serial || i.InfoHash != want.InfoHash || i.Manifest != want.Manifest {
		return fmt.Errorf("item of channel %q (serial %d, release %x) does not agree with the pointer to serial %d of channel %q, release %s: %w",
			i.Channel, i.Serial, i.Manifest, p.Serial, p.Channel, p.Manifest, ErrMalformed)
	}
	return nil
}

// Value is the bencoded value "v", exactly as it is signed: a dictionary of the
// infohash "ih" and the manifest's SHA-256 "m", each in raw bytes.
func (i *Item) Value() []byte {
	if i.foreign != "" {
		return []byte(i.foreign)
	}
	b := append([]byte("d2:ih20:"), i.InfoHash[:]...)
	if i.Manifest != [sha256.Size]byte{} {
		b = append(append(b, "1:m32:"...), i.Manifest[:]...)
	}
	return append(b, 'e')
}

// signed is what the signature is over: salt, sequence number and value, each
// bencoded under its key (BEP 44).
func (i *Item) signed() []byte { return signedItem(i.Channel, int64(i.Serial), i.Value()) }

func signedItem(salt string, seq int64, value []byte) []byte {
	var b []byte
	if salt != "" {
		b = fmt.Appendf(b, "4:salt%d:%s", len(salt), salt)
	}
	return append(fmt.Appendf(b, "3:seqi%de1:v", seq), value...)
}

// Encode is the item as a file: a bencoded dictionary with BEP 44's keys k,
// salt, seq, sig and v.
func (i *Item) Encode() []byte {
	b := append([]byte("d1:k32:"), i.Key[:]...)
	b = fmt.Appendf(b, "4:salt%d:%s3:seqi%de3:sig64:", len(i.Channel), i.Channel, i.Serial)
	b = append(append(b, i.Sig[:]...), "1:v"...)
	return append(append(b, i.Value()...), 'e')
}

// OpenItem reads the file form of an item that key has signed. It refuses all
// but the form that Encode gives an item of SignItem. Errors wrap ErrSignature,
// ErrKey or ErrMalformed.
func OpenItem(key PublicKey, data []byte) (*Item, error) {
	i, err := openItem(key, data)
	if err != nil {
		return nil, fmt.Errorf("item: %w", err)
	}
	return i, nil
}

func openItem(key PublicKey, data []byte) (*Item, error) {
	if !key.valid {
		return nil, fmt.Errorf("%w: no key to check it with", ErrKey)
	}
	i, err := decodeItem(key.Raw(), data)
	if err != nil {
		return nil, err
	}
	if err := i.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if i.foreign != "" || !bytes.Equal(i.Encode(), data) {
		return nil, fmt.Errorf("%w: it has other keys than k, salt, seq, sig and v with ih and m", ErrMalformed)
	}
	return i, nil
}

// DecodeItem reads the file form of an item that the raw public key has signed,
// whichever publisher made it: see ItemFrom. Errors wrap ErrSignature, ErrKey or
// ErrMalformed.
func DecodeItem(key [ed25519.PublicKeySize]byte, data []byte) (*Item, error) {
	i, err := decodeItem(key, data)
	if err != nil {
		return nil, fmt.Errorf("item: %w", err)
	}
	return i, nil
}

func decodeItem(key [ed25519.PublicKeySize]byte, data []byte) (*Item, error) {
	if len(data) > MaxItem {
		return nil, fmt.Errorf("%w: %d bytes are more than %d", ErrMalformed, len(data), MaxItem)
	}
	fields, err := torrentfile.Dictionary(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	k, sig := rawString(fields["k"], ed25519.PublicKeySize), rawString(fields["sig"], ed25519.SignatureSize)
	seq, err := strconv.ParseInt(string(bytes.Trim(fields["seq"], "ie")), 10, 64)
	if k == nil || sig == nil || err != nil {
		return nil, fmt.Errorf("%w: want k of 32 bytes, a number seq and sig of 64 bytes", ErrMalformed)
	}
	if !bytes.Equal(k, key[:]) {
		return nil, fmt.Errorf("%w: %x signed it, %x is trusted", ErrKey, k, key)
	}
	_, salt, _ := bytes.Cut(fields["salt"], []byte(":"))
	return itemFrom(key, salt, seq, fields["v"], [ed25519.SignatureSize]byte(sig))
}

// check says whether a publisher like this one can have made the item.
func (i *Item) check() error {
	if err := names.Channel(i.Channel); err != nil {
		return err
	}
	if i.Serial == 0 || i.Serial > MaxSerial {
		return fmt.Errorf("serial %d is not between 1 and %d", i.Serial, uint64(MaxSerial))
	}
	if i.Manifest == [sha256.Size]byte{} {
		return errors.New("it names no manifest")
	}
	return nil
}

// ItemFrom checks what a DHT gave for a raw public key and a salt, and returns
// it as an item. Any publisher that follows BEP 46 may have made it: the value
// is a dictionary with "ih" and perhaps others, Manifest is zero when there is
// no "m" of 32 bytes, and the salt may be other than a channel's name, or none.
// Value and Sig are those that were given, so that the item can be put again.
// Errors wrap ErrSignature or ErrMalformed.
func ItemFrom(key [ed25519.PublicKeySize]byte, salt []byte, seq int64, value []byte, sig [ed25519.SignatureSize]byte) (*Item, error) {
	i, err := itemFrom(key, salt, seq, value, sig)
	if err != nil {
		return nil, fmt.Errorf("item: %w", err)
	}
	return i, nil
}

func itemFrom(key [ed25519.PublicKeySize]byte, salt []byte, seq int64, value []byte, sig [ed25519.SignatureSize]byte) (*Item, error) {
	switch {
	case len(value) > MaxItemValue:
		return nil, fmt.Errorf("%w: value of %d bytes is longer than %d", ErrMalformed, len(value), MaxItemValue)
	case len(salt) > MaxItemSalt:
		return nil, fmt.Errorf("%w: salt of %d bytes is longer than %d", ErrMalformed, len(salt), MaxItemSalt)
	case seq < 0:
		return nil, fmt.Errorf("%w: sequence number %d is negative", ErrMalformed, seq)
	}
	i := &Item{Channel: string(salt), Serial: uint64(seq), Key: key, Sig: sig}
	if !ed25519.Verify(key[:], signedItem(i.Channel, seq, value), sig[:]) {
		return nil, fmt.Errorf("%w: the item is not what key %x signed", ErrSignature, key)
	}
	fields, err := torrentfile.Dictionary(value)
	if err != nil {
		return nil, fmt.Errorf("%w: value: %w", ErrMalformed, err)
	}
	ih := rawString(fields["ih"], sha1.Size)
	if ih == nil {
		return nil, fmt.Errorf("%w: value has no infohash: ih of 20 bytes", ErrMalformed)
	}
	copy(i.InfoHash[:], ih)
	copy(i.Manifest[:], rawString(fields["m"], sha256.Size))
	if !bytes.Equal(i.Value(), value) {
		i.foreign = string(value)
	}
	return i, nil
}

// rawString is the content of a bencoded string of n bytes, nil if v is none.
func rawString(v []byte, n int) []byte {
	s, ok := bytes.CutPrefix(v, fmt.Appendf(nil, "%d:", n))
	if !ok || len(s) != n {
		return nil
	}
	return s
}
