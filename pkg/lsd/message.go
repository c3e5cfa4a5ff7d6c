package lsd

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
)

const (
	// maxMessage is the size of the longest message that is sent, in bytes: BEP 14
	// has it so, for the sake of the MTU.
	maxMessage = 1400
	// maxDatagram is the size of the longest message that is read.
	maxDatagram = 2048
	// maxHashes is how many infohashes of one message are heard. No message of
	// maxDatagram bytes has room for more.
	maxHashes = 40
	// perMessage is how many infohashes fit into a message that is sent: there are
	// 52 bytes for each, and 140 for the rest.
	perMessage = (maxMessage - 140) / 52
)

// message is an announce.
type message struct {
	port   uint16 // TCP port of the sender's peers
	hashes [][20]byte
	cookie string // of the sender; may be empty
}

const firstLine = "BT-SEARCH * HTTP/1."

var (
	errNoAnnounce = errors.New("it does not begin as an announce")
	errCut        = errors.New("its end is missing")
	errPort       = errors.New("it has no port, or a wrong one")
	errHashes     = errors.New("it has no infohash")
)

// parse reads a message: a first line and headers as in HTTP, up to an empty
// line. Headers that are not known, and infohashes that are none of BitTorrent v1,
// are passed over. What it returns does not refer to b.
func parse(b []byte) (m message, err error) {
	if len(b) < len(firstLine) || string(b[:len(firstLine)]) != firstLine {
		return m, errNoAnnounce
	}
	_, b, _ = bytes.Cut(b, []byte("\n"))
	ended := false
	for len(b) > 0 && !ended {
		var line []byte
		var whole bool
		line, b, whole = bytes.Cut(b, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if ended = whole && len(line) == 0; ended {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if err := m.header(name, bytes.TrimSpace(value)); err != nil {
			return message{}, err
		}
	}
	switch {
	case !ended:
		return message{}, errCut
	case m.port == 0:
		return message{}, errPort
	case len(m.hashes) == 0:
		return message{}, errHashes
	}
	return m, nil
}

// header takes over one header.
func (m *message) header(name, value []byte) error {
	switch {
	case bytes.EqualFold(name, []byte("Port")):
		port, err := strconv.ParseUint(string(value[:min(len(value), 6)]), 10, 16)
		if err != nil || port == 0 || m.port != 0 && m.port != uint16(port) {
			return errPort
		}
		m.port = uint16(port)
	case bytes.EqualFold(name, []byte("Infohash")):
		var h [20]byte
		if len(value) != hex.EncodedLen(len(h)) || len(m.hashes) == maxHashes {
			return nil
		}
		if _, err := hex.Decode(h[:], value); err == nil && !slices.Contains(m.hashes, h) {
			m.hashes = append(m.hashes, h)
		}
	case bytes.EqualFold(name, []byte("cookie")):
		m.cookie = string(value[:min(len(value), 64)])
	}
	return nil
}

// encode writes a message to the group host, ADDRESS:PORT. Two empty lines end
// it, without which transmission does not take it.
func (m message) encode(host string) []byte {
	b := make([]byte, 0, 140+52*len(m.hashes))
	b = append(b, firstLine+"1\r\nHost: "+host+"\r\nPort: "...)
	b = strconv.AppendUint(b, uint64(m.port), 10)
	b = append(b, "\r\n"...)
	for _, h := range m.hashes {
		b = append(b, "Infohash: "...)
		b = hex.AppendEncode(b, h[:])
		b = append(b, "\r\n"...)
	}
	return append(b, "cookie: "+m.cookie+"\r\n\r\n\r\n"...)
}
