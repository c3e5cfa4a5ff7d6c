package wire

import (
	"encoding/binary"

	"distd/pkg/swarm/bitmap"
)

// KeepAlive queues a keep-alive.
func (w *Writer) KeepAlive() { w.control(func(b []byte) []byte { return append(b, 0, 0, 0, 0) }) }

// Send queues a message without a payload: Choke, Unchoke, Interested,
// NotInterested, HaveAll or HaveNone.
func (w *Writer) Send(t Type) {
	w.control(func(b []byte) []byte { return append(b, 0, 0, 0, 1, byte(t)) })
}

// SendIndex queues a message about a piece: Have, Suggest or AllowedFast.
func (w *Writer) SendIndex(t Type, index uint32) {
	w.control(func(b []byte) []byte {
		return binary.BigEndian.AppendUint32(append(b, 0, 0, 0, 5, byte(t)), index)
	})
}

// SendRequest queues a message about a block: Request, Cancel or Reject.
func (w *Writer) SendRequest(t Type, r Block) {
	w.control(func(b []byte) []byte {
		b = binary.BigEndian.AppendUint32(append(b, 0, 0, 0, 13, byte(t)), r.Index)
		b = binary.BigEndian.AppendUint32(b, r.Begin)
		return binary.BigEndian.AppendUint32(b, r.Length)
	})
}

// SendBitfield queues the pieces that are here. It must be the first message.
func (w *Writer) SendBitfield(m *bitmap.Bitmap) {
	w.control(func(b []byte) []byte {
		b = binary.BigEndian.AppendUint32(b, uint32(1+bitmap.ByteLen(m.Len())))
		return m.AppendBytes(append(b, byte(Bitfield)))
	})
}

// SendPort queues the UDP port of this node's DHT.
func (w *Writer) SendPort(port uint16) {
	w.control(func(b []byte) []byte { return AppendPort(b, port) })
}

// AppendPort appends the UDP port of this node's DHT to b, for who needs no
// Writer.
func AppendPort(b []byte, port uint16) []byte {
	return binary.BigEndian.AppendUint16(append(b, 0, 0, 0, 3, byte(Port)), port)
}

// SendExtended queues a message of the extension protocol: id 0 for the
// handshake, else the number that the peer gave the extension.
func (w *Writer) SendExtended(id uint8, payload []byte) {
	w.control(func(b []byte) []byte { return AppendExtended(b, id, payload) })
}

// AppendExtended appends a message of the extension protocol to b, for who needs
// no Writer.
func AppendExtended(b []byte, id uint8, payload []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(2+len(payload)))
	return append(append(b, byte(Extended), id), payload...)
}

// control lets add append a message to the queue of control messages.
func (w *Writer) control(add func([]byte) []byte) {
	w.mu.Lock()
	if w.err == nil {
		if len(w.ctl) > w.maxCtl {
			w.err = ErrBacklog
		} else {
			w.ctl = add(w.ctl)
		}
	}
	w.mu.Unlock()
	w.signal()
}

// appendPieceHead appends what stands before the data of a block.
func appendPieceHead(b []byte, p Block) []byte {
	b = binary.BigEndian.AppendUint32(b, 9+p.Length)
	b = binary.BigEndian.AppendUint32(append(b, byte(Piece)), p.Index)
	return binary.BigEndian.AppendUint32(b, p.Begin)
}
