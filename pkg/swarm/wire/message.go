package wire

import (
	"strconv"

	pp "github.com/anacrolix/torrent/peer_protocol"
)

// Type is the number of a message on the wire, or one of two that only exist
// here: KeepAlive and Unknown.
type Type uint8

// Messages of BEP 3, 5, 6 and 10.
const (
	Choke         = Type(pp.Choke)
	Unchoke       = Type(pp.Unchoke)
	Interested    = Type(pp.Interested)
	NotInterested = Type(pp.NotInterested)
	Have          = Type(pp.Have)     // Index
	Bitfield      = Type(pp.Bitfield) // Data: the wire form, length and spare bits checked
	Request       = Type(pp.Request)  // Index, Begin, Length
	Piece         = Type(pp.Piece)    // Index, Begin, Length; Data: the block, or nil when the sink did not want it
	Cancel        = Type(pp.Cancel)   // Index, Begin, Length
	Port          = Type(pp.Port)     // Port

	Suggest     = Type(pp.Suggest) // Index
	HaveAll     = Type(pp.HaveAll)
	HaveNone    = Type(pp.HaveNone)
	Reject      = Type(pp.Reject)      // Index, Begin, Length
	AllowedFast = Type(pp.AllowedFast) // Index

	Extended = Type(pp.Extended) // ExtID; Data: the payload

	// Unknown is a message of a type that is not known here; its payload is
	// skipped. BEP 3 wants such messages to be ignored.
	Unknown Type = 0xfe
	// KeepAlive is the message without a type.
	KeepAlive Type = 0xff
)

var typeNames = map[Type]string{
	Choke: "choke", Unchoke: "unchoke", Interested: "interested", NotInterested: "not interested",
	Have: "have", Bitfield: "bitfield", Request: "request", Piece: "piece", Cancel: "cancel", Port: "port",
	Suggest: "suggest", HaveAll: "have all", HaveNone: "have none", Reject: "reject", AllowedFast: "allowed fast",
	Extended: "extended", Unknown: "unknown", KeepAlive: "keep-alive",
}

// String is the message's name for logs.
func (t Type) String() string {
	if s, ok := typeNames[t]; ok {
		return s
	}
	return "message " + strconv.Itoa(int(t))
}

// Message is one decoded message. Which fields are set stands beside the
// types. Next overwrites it; Data is valid until the next call of Next, but
// for memory that a Sink supplied.
type Message struct {
	Type                 Type
	ExtID                uint8
	Port                 uint16
	Index, Begin, Length uint32
	Data                 []byte
}

// Block is a stretch of one piece: what is requested, sent, cancelled and
// rejected.
type Block struct {
	Index  uint32 // piece
	Begin  uint32 // offset in the piece, bytes
	Length uint32 // bytes
}

// Block is the stretch that a Request, Piece, Cancel or Reject speaks of.
func (m *Message) Block() Block { return Block{m.Index, m.Begin, m.Length} }

// DefaultBlock is the length of the blocks that every BitTorrent client asks
// for and answers, in bytes.
const DefaultBlock = 16 << 10
