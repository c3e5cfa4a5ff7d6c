package upstream

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestEventReader(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     []event
		err      error
	}{
		{"one", "event: release\nid: web/7\ndata: {}\n\n", []event{{name: "release", id: "web/7", data: []byte("{}")}}, io.EOF},
		{"CRLF", "event:release\r\nid:web/7\r\ndata:x\r\n\r\n", []event{{name: "release", id: "web/7", data: []byte("x")}}, io.EOF},
		{"CR", "data: a\r\rdata: b\r\r", []event{{data: []byte("a")}, {data: []byte("b")}}, io.EOF},
		{"several lines", "data: a\ndata\ndata:  b\n\n", []event{{data: []byte("a\n\n b")}}, io.EOF},
		{"comments, retry, unknown", ": ping\n\nretry: 5\n\nfoo: bar\n:\ndata: x\n\n", []event{{data: []byte("x")}}, io.EOF},
		{"without data", "event: release\nid: web/1\n\ndata: x\n\n", []event{{data: []byte("x")}}, io.EOF},
		{"cut off", "data: x\n\ndata: y\n", []event{{data: []byte("x")}}, io.EOF},
		{"byte order mark", "\xef\xbb\xbfdata: x\n\n", []event{{data: []byte("x")}}, io.EOF},
		{"NUL in the id", "id: a/\x00\ndata: x\n\n", []event{{data: []byte("x")}}, io.EOF},
		{"signed", "minisig: c2ln\ndata: x\n\n", []event{{data: []byte("x"), minisig: []byte("sig")}}, io.EOF},
		{"signed badly", "minisig: !\ndata: x\n\nminisig: " + strings.Repeat("AAAA", 2000) + "\ndata: y\n\n", []event{{data: []byte("x")}, {data: []byte("y")}}, io.EOF},
		{"empty", "", nil, io.EOF},
		{"long line", "data: " + strings.Repeat("x", maxLine), nil, errLongLine},
		{"long comment", strings.Repeat(":", maxLine+1), nil, errLongLine},
		{"large event", strings.Repeat("data: "+strings.Repeat("x", 1000)+"\n", 100), nil, errLongEvent},
		{"many empty lines of data", strings.Repeat("data\n", maxEvent+2), nil, errLongEvent},
	} {
		for _, slow := range []bool{false, true} {
			var in io.Reader = strings.NewReader(tc.in)
			if slow {
				in = iotest.OneByteReader(in)
			}
			r := newEventReader(in)
			for i, want := range tc.want {
				got, err := r.next()
				if err != nil || got.name != want.name || got.id != want.id || !bytes.Equal(got.data, want.data) || !bytes.Equal(got.minisig, want.minisig) {
					t.Errorf("%s: event %d is %+v, %v; want %+v", tc.name, i, got, err, want)
				}
			}
			if ev, err := r.next(); !errors.Is(err, tc.err) {
				t.Errorf("%s: at the end %+v, %v; want %v", tc.name, ev, err, tc.err)
			}
			if cap(r.line) > 4*maxLine {
				t.Errorf("%s: holds %d bytes", tc.name, cap(r.line))
			}
		}
	}
}

// TestEventComesAtOnce: an event is handed over without waiting for what comes
// behind it.
func TestEventComesAtOnce(t *testing.T) {
	for _, end := range []string{"\n", "\r", "\r\n"} {
		in, out := io.Pipe()
		go func() { _, _ = io.WriteString(out, "data: x"+end+end) }()
		if ev, err := newEventReader(in).next(); err != nil || string(ev.data) != "x" {
			t.Errorf("%q: %+v %v", end, ev, err)
		}
		_ = in.Close()
	}
}

func TestEventChannel(t *testing.T) {
	for _, tc := range []struct {
		ev   event
		want string
	}{
		{event{name: "release", id: "web/7"}, "web"}, {event{name: "release", id: "web/"}, "web"}, {event{name: "other", id: "web/7"}, ""},
		{event{name: "release", id: "web"}, ""}, {event{name: "release", id: "../7"}, ""}, {event{name: "release", id: "/7"}, ""}, {event{name: "release", id: "Web/7"}, ""}, {event{}, ""},
	} {
		if ch, ok := tc.ev.channel(); ok != (tc.want != "") || ok && ch != tc.want {
			t.Errorf("%+v: %q %v", tc.ev, ch, ok)
		}
	}
}

// FuzzEvents reads any stream, whole and byte by byte: the same events come
// out, and none is larger than the bounds.
func FuzzEvents(f *testing.F) {
	for _, s := range []string{"", "data: x\n\n", "event: release\r\nid: web/1\r\ndata: {}\r\n\r\n", "\r\r\n\n", ": ping\n\n", "\xef\xbb\xbfdata\n\n", "minisig: c2ln\ndata: x\n\n", "id: \x00\ndata: a\ndata: b\n\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole, drip := newEventReader(bytes.NewReader(in)), newEventReader(iotest.OneByteReader(bytes.NewReader(in)))
		for {
			a, aerr := whole.next()
			b, berr := drip.next()
			if (aerr == nil) != (berr == nil) || a.name != b.name || a.id != b.id || !bytes.Equal(a.data, b.data) || !bytes.Equal(a.minisig, b.minisig) {
				t.Fatalf("%+v %v, but byte by byte %+v %v", a, aerr, b, berr)
			}
			if aerr != nil {
				return
			}
			if len(a.data) > maxEvent || len(a.id) > maxLine || len(a.name) > maxLine {
				t.Fatalf("event of %d bytes", len(a.data))
			}
			_, _ = a.channel()
		}
	})
}
