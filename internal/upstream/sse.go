package upstream

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"strings"

	"distd/internal/manifest"
	"distd/internal/names"
)

// Bounds of an event stream, in bytes: an event's data is a latest.json.
const (
	maxEvent = manifest.MaxPointer
	maxLine  = maxEvent + 64
)

var (
	errLongLine  = errors.New("a line of the event stream is too long")
	errLongEvent = errors.New("an event of the event stream is too large")
)

// event is a server-sent event.
type event struct {
	name string
	id   string
	data []byte
	// minisig is the signature of data, which distd nodes send along.
	minisig []byte
}

// channel is the channel that the event is about: its id is CHANNEL/SERIAL.
func (e event) channel() (string, bool) {
	ch, _, ok := strings.Cut(e.id, "/")
	return ch, ok && e.name == "release" && names.Channel(ch) == nil
}

// eventReader reads a stream of server-sent events (the text/event-stream of
// the HTML standard). It holds one line and one event, both bounded.
type eventReader struct {
	r      *bufio.Reader
	line   []byte
	begun  bool
	skipLF bool // the last line ended in CR: an LF behind it belongs to it
}

func newEventReader(r io.Reader) *eventReader { return &eventReader{r: bufio.NewReader(r)} }

// next returns the next event that has data. Comments and events without data
// are passed over; an event that the stream's end cuts off is not returned.
func (e *eventReader) next() (event, error) {
	var ev event
	hasData := false
	for {
		line, err := e.readLine()
		if err != nil {
			return event{}, err
		}
		if len(line) == 0 {
			if hasData {
				return ev, nil
			}
			ev = event{}
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			ev.name = string(value)
		case "id":
			if bytes.IndexByte(value, 0) < 0 {
				ev.id = string(value)
			}
		case "minisig":
			ev.minisig = decodeSignature(value)
		case "data":
			if hasData {
				ev.data = append(ev.data, '\n')
			}
			hasData = true
			if len(ev.data)+len(value) > maxEvent {
				return event{}, errLongEvent
			}
			ev.data = append(ev.data, value...)
		}
	}
}

// decodeSignature returns nil for what cannot be a signature: it can be had in
// another way.
func decodeSignature(value []byte) []byte {
	if base64.StdEncoding.DecodedLen(len(value)) > manifest.MaxSignature {
		return nil
	}
	sig, err := base64.StdEncoding.DecodeString(string(value))
	if err != nil {
		return nil
	}
	return sig
}

// readLine returns a line without its end (LF, CR or CRLF), valid until the
// next call. It does not wait for what comes behind a CR.
func (e *eventReader) readLine() ([]byte, error) {
	e.line = e.line[:0]
	for {
		b, err := e.r.ReadByte()
		if err != nil {
			return nil, err
		}
		if b == '\n' && e.skipLF {
			e.skipLF = false
			continue
		}
		e.skipLF = b == '\r'
		if b == '\n' || b == '\r' {
			return e.withoutBOM(), nil
		}
		if len(e.line) >= maxLine {
			return nil, errLongLine
		}
		e.line = append(e.line, b)
	}
}

// withoutBOM is the line, without a byte order mark if it is the first.
func (e *eventReader) withoutBOM() []byte {
	if e.begun {
		return e.line
	}
	e.begun = true
	return bytes.TrimPrefix(e.line, []byte("\xef\xbb\xbf"))
}
