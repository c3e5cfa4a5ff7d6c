package wire

import (
	"encoding/binary"

	"github.com/anacrolix/torrent/bencode"
)

// ExtClaims is the name of the extension by which distd peers that fetch from
// mirrors share the work.
const ExtClaims = "distd_claims"

// maxClaimRuns is how many runs of each kind are taken from one message.
const maxClaimRuns = 4096

// Run is N pieces from First on.
type Run struct{ First, N uint32 }

// Claims says what its sender fetches from sources that are no peers. Runs are
// news since its last message.
type Claims struct {
	// Claimed are pieces that it begins to fetch, and Taken those that it has
	// taken over from another: that one should leave them to it.
	Claimed, Taken []Run
	// Released are pieces that it does not fetch any more.
	Released []Run
	// Received is how many bytes have come so far.
	Received int64
}

// Pieces is how many pieces the message names.
func (m *Claims) Pieces() (n int) {
	for _, list := range [][]Run{m.Claimed, m.Taken, m.Released} {
		for _, r := range list {
			n += int(r.N)
		}
	}
	return n
}

// Encode is the payload of the message.
func (m *Claims) Encode() []byte {
	d := map[string]any{}
	put(d, "c", encodeRuns(m.Claimed))
	put(d, "t", encodeRuns(m.Taken))
	put(d, "r", encodeRuns(m.Released))
	put(d, "b", m.Received)
	return bencode.MustMarshal(d)
}

func encodeRuns(runs []Run) string {
	var b []byte
	for _, r := range runs {
		b = binary.BigEndian.AppendUint32(b, r.First)
		b = binary.BigEndian.AppendUint32(b, r.N)
	}
	return string(b)
}

// DecodeClaims reads the payload of the message, for a torrent of so many
// pieces. What is no dictionary, or names pieces that there are not, or more of
// one kind than there are, is a *ProtocolError.
func DecodeClaims(b []byte, pieces int) (*Claims, error) {
	var raw struct {
		Claimed  bencode.Bytes `bencode:"c"`
		Taken    bencode.Bytes `bencode:"t"`
		Released bencode.Bytes `bencode:"r"`
		Received bencode.Bytes `bencode:"b"`
	}
	if len(b) > MaxExtHandshake {
		return nil, violation(Extended, "claims of %d bytes", len(b))
	}
	if _, err := decodeDict(b, &raw); err != nil {
		return nil, violation(Extended, "claims: %v", err)
	}
	m := &Claims{}
	for _, list := range []struct {
		from bencode.Bytes
		to   *[]Run
	}{{raw.Claimed, &m.Claimed}, {raw.Taken, &m.Taken}, {raw.Released, &m.Released}} {
		s := text(list.from)
		if len(s)%8 != 0 || len(s) > 8*maxClaimRuns {
			return nil, violation(Extended, "claims: %d bytes of runs", len(s))
		}
		for named := uint64(0); len(s) > 0; s = s[8:] {
			r := Run{binary.BigEndian.Uint32([]byte(s[:4])), binary.BigEndian.Uint32([]byte(s[4:8]))}
			if r.N == 0 || uint64(r.First)+uint64(r.N) > uint64(pieces) {
				return nil, violation(Extended, "claims: %d pieces from %d on, of %d", r.N, r.First, pieces)
			}
			if named += uint64(r.N); named > uint64(pieces) {
				return nil, violation(Extended, "claims: %d pieces of %d", named, pieces)
			}
			*list.to = append(*list.to, r)
		}
	}
	if n, ok := integer(raw.Received); ok && n > 0 {
		m.Received = n
	}
	return m, nil
}
