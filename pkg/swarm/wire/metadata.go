package wire

import (
	"github.com/anacrolix/torrent/bencode"
	pp "github.com/anacrolix/torrent/peer_protocol"
)

// MetadataBlock is the length of the parts in which metadata is sent (BEP 9).
const MetadataBlock = 16 << 10

// MetadataKind is the kind of a metadata message.
type MetadataKind int

// Kinds of metadata messages. Others are to be ignored.
const (
	MetadataRequest = MetadataKind(pp.RequestMetadataExtensionMsgType)
	MetadataData    = MetadataKind(pp.DataMetadataExtensionMsgType)
	MetadataReject  = MetadataKind(pp.RejectMetadataExtensionMsgType)
)

// MetadataMsg is a message of BEP 9.
type MetadataMsg struct {
	Kind MetadataKind
	// Piece is the number of the part, of MetadataBlock bytes but for the last.
	Piece int
	// TotalSize is the length of the whole metadata; in Data only.
	TotalSize int
	// Data is the part's bytes; in Data only.
	Data []byte
}

// Encode is the payload of the message.
func (m *MetadataMsg) Encode() []byte {
	d := map[string]int{"msg_type": int(m.Kind), "piece": m.Piece}
	if m.Kind == MetadataData {
		d["total_size"] = m.TotalSize
	}
	return append(bencode.MustMarshal(d), m.Data...)
}

// MetadataParts is the number of parts that size bytes of metadata come in.
func MetadataParts(size int) int { return (size + MetadataBlock - 1) / MetadataBlock }

// DecodeMetadata reads the payload of a metadata message. A part of metadata
// must have the length that its number and the whole length give. Data points
// into b.
func DecodeMetadata(b []byte) (*MetadataMsg, error) { return decodeParts(b, "metadata", MaxMetadata) }

// decodeParts reads a message of a blob of at most limit bytes.
func decodeParts(b []byte, what string, limit int64) (*MetadataMsg, error) {
	if len(b) > MetadataBlock+1024 {
		return nil, violation(Extended, "%s message of %d bytes", what, len(b))
	}
	var raw struct {
		Type  bencode.Bytes `bencode:"msg_type"`
		Piece bencode.Bytes `bencode:"piece"`
		Size  bencode.Bytes `bencode:"total_size"`
	}
	n, err := decodeDict(b, &raw)
	if err != nil {
		return nil, violation(Extended, "%s message: %v", what, err)
	}
	kind, ok := integer(raw.Type)
	part, ok2 := integer(raw.Piece)
	if !ok || !ok2 || kind < 0 || kind > 255 || part < 0 || part >= int64(MetadataParts(int(limit))) {
		return nil, violation(Extended, "%s message without a kind or a possible part", what)
	}
	m := &MetadataMsg{Kind: MetadataKind(kind), Piece: int(part)}
	if m.Kind != MetadataData {
		return m, nil
	}
	m.TotalSize, m.Data = number(raw.Size, 1, limit), b[n:]
	want := min(m.TotalSize-m.Piece*MetadataBlock, MetadataBlock)
	if want <= 0 || len(m.Data) != want {
		return nil, violation(Extended, "%d bytes of %s as part %d of %d bytes", len(m.Data), what, m.Piece, m.TotalSize)
	}
	return m, nil
}
