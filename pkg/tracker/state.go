package tracker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"math"
)

// The state file, all numbers big-endian:
//
//	"distdtrk", version 4 bytes, time of saving 8 bytes (Unix seconds)
//	for each torrent: 'T', infohash 20, completed 8, number of peers 4, then
//	  for each peer: address and port 18, peer id 20, left 8, seconds to live 4
//	'E', number of torrents 4, CRC-32C of all before 4
//
// Which torrents are allowed is not in it: that is for who calls Allow to say.
const (
	stateMagic   = "distdtrk"
	stateVersion = 1

	stateHead    = len(stateMagic) + 4 + 8
	stateTorrent = 1 + 20 + 8 + 4
	statePeer    = 18 + 20 + 8 + 4
	stateTail    = 1 + 4 + 4
)

var (
	errStateVersion = errors.New("version of the state file is not known here")
	castagnoli      = crc32.MakeTable(crc32.Castagnoli)
)

// torrentState is what the file keeps of a torrent. Peers' expires is the
// number of seconds they have left.
type torrentState struct {
	infoHash  [20]byte
	completed uint64
	peers     []entry
}

// stateWriter writes a state file.
type stateWriter struct {
	w     io.Writer
	sum   hash.Hash32
	buf   []byte
	count uint32
}

func newStateWriter(w io.Writer, unix int64) (*stateWriter, error) {
	s := &stateWriter{w: w, sum: crc32.New(castagnoli)}
	b := append(s.buf, stateMagic...)
	b = binary.BigEndian.AppendUint32(b, stateVersion)
	s.buf = binary.BigEndian.AppendUint64(b, uint64(unix))
	return s, s.flush()
}

func (s *stateWriter) flush() error {
	_, _ = s.sum.Write(s.buf) // never fails
	_, err := s.w.Write(s.buf)
	s.buf = s.buf[:0]
	return err
}

func (s *stateWriter) torrent(t *torrentState) error {
	b := append(s.buf, 'T')
	b = append(b, t.infoHash[:]...)
	b = binary.BigEndian.AppendUint64(b, t.completed)
	b = binary.BigEndian.AppendUint32(b, uint32(len(t.peers)))
	for i := range t.peers {
		p := &t.peers[i]
		b = append(append(b, p.key[:]...), p.id[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(p.left))
		b = binary.BigEndian.AppendUint32(b, uint32(p.expires))
	}
	s.buf = b
	s.count++
	return s.flush()
}

func (s *stateWriter) close() error {
	s.buf = binary.BigEndian.AppendUint32(append(s.buf, 'E'), s.count)
	if err := s.flush(); err != nil {
		return err
	}
	s.buf = binary.BigEndian.AppendUint32(s.buf, s.sum.Sum32())
	return s.flush()
}

// parseState checks a state file, whole, and then calls fn for each torrent.
// What fn is given is valid only during the call.
func parseState(b []byte, fn func(unix int64, t *torrentState)) error {
	if len(b) < stateHead+stateTail || string(b[:len(stateMagic)]) != stateMagic {
		return errors.New("not a state file of the tracker, or cut short")
	}
	if v := binary.BigEndian.Uint32(b[len(stateMagic):]); v != stateVersion {
		return fmt.Errorf("%w: %d", errStateVersion, v)
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(b[len(b)-4:]) {
		return errors.New("checksum is wrong: the file is damaged")
	}
	// The sum tells accidents; structure is checked on its own before anything
	// of it is used.
	if err := walkState(body, func(*torrentState) {}); err != nil {
		return err
	}
	unix := int64(binary.BigEndian.Uint64(b[len(stateMagic)+4:]))
	return walkState(body, func(t *torrentState) { fn(unix, t) })
}

func walkState(body []byte, fn func(*torrentState)) error {
	var t torrentState
	rest := body[stateHead:]
	for count := uint32(0); ; count++ {
		if len(rest) == stateTail-4 && rest[0] == 'E' {
			if binary.BigEndian.Uint32(rest[1:]) != count {
				return errors.New("number of torrents is wrong")
			}
			return nil
		}
		if len(rest) < stateTorrent || rest[0] != 'T' {
			return fmt.Errorf("torrent %d is damaged", count)
		}
		t.infoHash = [20]byte(rest[1:])
		t.completed = binary.BigEndian.Uint64(rest[21:])
		n := int64(binary.BigEndian.Uint32(rest[29:]))
		rest = rest[stateTorrent:]
		if n*int64(statePeer) > int64(len(rest)) {
			return fmt.Errorf("torrent %d has %d peers, more than the file", count, n)
		}
		t.peers = t.peers[:0]
		for range n {
			if p, ok := parseStatePeer(rest); ok {
				t.peers = append(t.peers, p)
			}
			rest = rest[statePeer:]
		}
		fn(&t)
	}
}

// parseStatePeer reads a peer; ok is false for one that no announce can have
// made.
func parseStatePeer(b []byte) (p entry, ok bool) {
	p.key = peerKey(b)
	p.id = [20]byte(b[18:])
	left := int64(binary.BigEndian.Uint64(b[38:]))
	expires := binary.BigEndian.Uint32(b[46:])
	if left < -1 || expires > math.MaxInt32 || p.key.port() == 0 {
		return p, false
	}
	p.left, p.expires = left, int32(expires)
	return p, true
}
