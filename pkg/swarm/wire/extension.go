package wire

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"

	"github.com/anacrolix/torrent/bencode"
	pp "github.com/anacrolix/torrent/peer_protocol"

	"distd/internal/names"
)

// Names of extensions in ExtHandshake.M.
const (
	ExtMetadata = string(pp.ExtensionNameMetadata) // BEP 9
	ExtPEX      = string(pp.ExtensionNamePex)      // BEP 11
)

// Bounds of what a peer may send in the extension protocol.
const (
	MaxExtHandshake = 64 << 10 // bytes
	MaxMetadata     = 64 << 20 // bytes
	maxExtensions   = 64
	maxVersion      = 64 // bytes
)

// ExtHandshake is the handshake of the extension protocol (BEP 10), with the
// keys that other extensions put there. Zero fields are left out.
type ExtHandshake struct {
	// M gives each extension the number under which its sender wants to be sent
	// it; 0 means that it is not or no longer spoken.
	M map[string]uint8
	// V is the client's name and version: when read, printable and short.
	V string
	// Port is where the sender accepts connections.
	Port uint16
	// Reqq is the number of requests that the sender keeps in its queue.
	Reqq int
	// YourIP is the receiver's address as the sender sees it.
	YourIP netip.Addr
	// MetadataSize is the length of the info dictionary in bytes (BEP 9).
	MetadataSize int
	// UploadOnly says that the sender wants no pieces (BEP 21).
	UploadOnly bool
	// Distd is set by peers that are distd.
	Distd *DistdInfo
}

// DistdInfo is what distd peers tell each other, in the key "distd".
type DistdInfo struct {
	// Version of this extension, from 1 on.
	Version int
	// Block is the longest block that the sender answers requests for, in bytes.
	Block uint32
	// Release is the ID of the release that the sender has the manifest of: 64
	// hex digits, or nothing.
	Release string
	// Zone is the name of the zone that the sender is in: see names.Zone. One that
	// breaks its rule is taken as absent.
	Zone string
}

// extHandshake is the message with every value undecoded, so that one odd
// value does not spoil the others.
type extHandshake struct {
	M            bencode.Bytes `bencode:"m"`
	V            bencode.Bytes `bencode:"v"`
	P            bencode.Bytes `bencode:"p"`
	Reqq         bencode.Bytes `bencode:"reqq"`
	YourIP       bencode.Bytes `bencode:"yourip"`
	MetadataSize bencode.Bytes `bencode:"metadata_size"`
	UploadOnly   bencode.Bytes `bencode:"upload_only"`
	Distd        bencode.Bytes `bencode:"distd"`
}

type distdInfo struct {
	Block   bencode.Bytes `bencode:"b"`
	Release bencode.Bytes `bencode:"r"`
	Version bencode.Bytes `bencode:"v"`
	Zone    bencode.Bytes `bencode:"z"`
}

// Encode is the payload of the message.
func (h *ExtHandshake) Encode() []byte {
	m := make(map[string]int, len(h.M))
	for k, v := range h.M {
		m[k] = int(v)
	}
	d := map[string]any{"m": m}
	put(d, "v", h.V)
	put(d, "p", int(h.Port))
	put(d, "reqq", h.Reqq)
	put(d, "metadata_size", h.MetadataSize)
	if h.YourIP.IsValid() {
		d["yourip"] = string(h.YourIP.Unmap().AsSlice())
	}
	if h.UploadOnly {
		d["upload_only"] = 1
	}
	if h.Distd != nil {
		dd := map[string]any{"v": h.Distd.Version}
		put(dd, "b", int(h.Distd.Block))
		put(dd, "r", h.Distd.Release)
		put(dd, "z", h.Distd.Zone)
		d["distd"] = dd
	}
	return bencode.MustMarshal(d)
}

func put[T comparable](d map[string]any, key string, v T) {
	var zero T
	if v != zero {
		d[key] = v
	}
}

// DecodeExtHandshake reads the payload of a message with ExtID 0. Values of a
// wrong type or out of range are taken as absent: clients are of many kinds.
// What is no dictionary at all, or too long, is a *ProtocolError.
func DecodeExtHandshake(b []byte) (*ExtHandshake, error) {
	if len(b) > MaxExtHandshake {
		return nil, violation(Extended, "handshake of %d bytes", len(b))
	}
	var raw extHandshake
	if _, err := decodeDict(b, &raw); err != nil {
		return nil, violation(Extended, "handshake: %v", err)
	}
	h := &ExtHandshake{
		M:            decodeM(raw.M),
		V:            printable(text(raw.V)),
		Port:         uint16(number(raw.P, 1, 1<<16-1)),
		Reqq:         number(raw.Reqq, 1, 1<<20),
		MetadataSize: number(raw.MetadataSize, 1, MaxMetadata),
		UploadOnly:   number(raw.UploadOnly, 0, 1<<30) != 0,
	}
	h.YourIP, _ = netip.AddrFromSlice([]byte(text(raw.YourIP)))
	h.YourIP = h.YourIP.Unmap()
	var d distdInfo
	if _, err := decodeDict(raw.Distd, &d); err == nil {
		h.Distd = &DistdInfo{
			Version: number(d.Version, 1, 1<<30),
			Block:   uint32(number(d.Block, 1, 1<<30)),
			Release: hexID(text(d.Release)),
		}
		if z := text(d.Zone); names.Zone(z) == nil {
			h.Distd.Zone = z
		}
	}
	return h, nil
}

func decodeM(b bencode.Bytes) map[string]uint8 {
	out := map[string]uint8{}
	var m map[string]bencode.Bytes
	if _, err := decodeDict(b, &m); err != nil || len(m) > maxExtensions {
		return out
	}
	for k, v := range m {
		if n, ok := integer(v); ok && n >= 0 && n <= 255 && len(k) <= maxVersion {
			out[k] = uint8(n)
		}
	}
	return out
}

// decodeDict decodes the bencoded dictionary that b begins with into v and
// returns its length.
func decodeDict(b []byte, v any) (n int, err error) {
	if len(b) == 0 || b[0] != 'd' {
		return 0, errors.New("not a dictionary")
	}
	// The library hands on panics of the runtime.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("bencode: %v", r)
		}
	}()
	d := bencode.NewDecoder(bytes.NewReader(b))
	d.MaxStrLen = int64(len(b))
	d.MaxDepth = 8
	if err := d.Decode(v); err != nil {
		return 0, err
	}
	return int(d.Offset), nil
}

// integer reads an integer; ok is false for all else.
func integer(b bencode.Bytes) (n int64, ok bool) {
	if len(b) < 3 || len(b) > 22 || b[0] != 'i' {
		return 0, false
	}
	return n, bencode.Unmarshal(b, &n) == nil
}

// number reads an integer between lo and hi; all else is 0.
func number(b bencode.Bytes, lo, hi int64) int {
	n, ok := integer(b)
	if !ok || n < lo || n > hi {
		return 0
	}
	return int(n)
}

// text reads a string; all else is empty.
func text(b bencode.Bytes) string {
	_, s, ok := bytes.Cut(b, []byte{':'})
	if !ok || b[0] < '0' || b[0] > '9' {
		return ""
	}
	return string(s)
}

// printable makes a peer's string fit for logs.
func printable(s string) string {
	s = s[:min(len(s), maxVersion)]
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
}

// hexID passes 64 hex digits and nothing else.
func hexID(s string) string {
	if len(s) != 64 || strings.Trim(s, "0123456789abcdef") != "" {
		return ""
	}
	return s
}
