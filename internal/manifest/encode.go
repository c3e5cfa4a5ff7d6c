package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Encode checks the manifest and returns its canonical encoding.
func (m *Manifest) Encode() ([]byte, error) {
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	b, err := m.marshal()
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if len(b) > MaxManifest {
		return nil, fmt.Errorf("manifest: %d bytes are more than %d: publish fewer files or longer pieces", len(b), MaxManifest)
	}
	return b, nil
}

// Encode checks the pointer and returns its canonical encoding.
func (p *Pointer) Encode() ([]byte, error) {
	if err := p.Check(); err != nil {
		return nil, fmt.Errorf("pointer: %w", err)
	}
	b, err := canonical(p)
	if err != nil {
		return nil, fmt.Errorf("pointer: %w", err)
	}
	return b, nil
}

// Open checks the signature of an encoded manifest, then the manifest, and
// returns it with its ID. Errors wrap ErrSignature, ErrKey or ErrMalformed.
func Open(k PublicKey, data, sig []byte) (*Manifest, string, error) {
	m, err := openManifest(k, data, sig)
	if err != nil {
		return nil, "", fmt.Errorf("manifest: %w", err)
	}
	return m, ID(data), nil
}

func openManifest(k PublicKey, data, sig []byte) (*Manifest, error) {
	if err := admit(k, data, sig, MaxManifest); err != nil {
		return nil, err
	}
	// A line of the file list takes 100 times its bytes in memory when it is
	// as short as "{}", so objects are counted before they are made.
	if n := countObjects(data); n > 1+MaxEntries+MaxMirrors+MaxDeltas {
		return nil, fmt.Errorf("%w: %d files, folders, mirrors and deltas are more than %d", ErrMalformed, n-1, MaxEntries+MaxMirrors+MaxDeltas)
	}
	m := new(Manifest)
	if err := decode(data, m); err != nil {
		return nil, err
	}
	m.Created, m.Expires = utc(m.Created), utc(m.Expires)
	return m, accept(data, m.Check, m.encodeTo)
}

// OpenPointer checks the signature of an encoded pointer, then the pointer, and
// returns it. Errors wrap ErrSignature, ErrKey or ErrMalformed.
func OpenPointer(k PublicKey, data, sig []byte) (*Pointer, error) {
	p, err := openPointer(k, data, sig)
	if err != nil {
		return nil, fmt.Errorf("pointer: %w", err)
	}
	return p, nil
}

func openPointer(k PublicKey, data, sig []byte) (*Pointer, error) {
	if err := admit(k, data, sig, MaxPointer); err != nil {
		return nil, err
	}
	p := new(Pointer)
	if err := decode(data, p); err != nil {
		return nil, err
	}
	p.Created, p.Expires = utc(p.Created), utc(p.Expires)
	return p, accept(data, p.Check, func(w io.Writer) error { return newCanonical(w).encode(p) })
}

// admit checks what can be checked without parsing: size and signature.
func admit(k PublicKey, data, sig []byte, limit int) error {
	if len(data) > limit {
		return fmt.Errorf("%w: %d bytes are more than %d", ErrMalformed, len(data), limit)
	}
	return k.Verify(data, sig)
}

// decode parses exactly one JSON value without unknown fields into v.
func decode(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: data behind its end", ErrMalformed)
	}
	return nil
}

// accept runs the checks on a decoded value and compares its encoding with the
// data that it came from. That refuses duplicate fields, nulls, white space,
// other spellings of numbers, strings and times, and unsorted keys.
func accept(data []byte, check func() error, encodeTo func(io.Writer) error) error {
	if err := check(); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	again := matcher{data}
	if err := encodeTo(&again); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if len(again.rest) > 0 {
		return fmt.Errorf("%w: %w", ErrMalformed, errNotCanonical)
	}
	return nil
}

var errNotCanonical = errors.New("not in canonical form (duplicate fields, key order, white space or spelling)")

// matcher compares what is written with what it has.
type matcher struct{ rest []byte }

// Write fails at the first difference.
func (m *matcher) Write(p []byte) (int, error) {
	rest, ok := bytes.CutPrefix(m.rest, p)
	if !ok {
		return 0, errNotCanonical
	}
	m.rest = rest
	return len(p), nil
}

func (m *Manifest) marshal() ([]byte, error) {
	var b bytes.Buffer
	b.Grow(len(m.Files)*(len(`{"mode":420,"mtime":1700000000,"path":"","sha256":"","size":1000},`)+sha256.Size*2+averagePath(m.Files)) + len(m.Pieces)*4/3 + 4096)
	if err := m.encodeTo(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func averagePath(files []File) int {
	n := 0
	for i := range files {
		n += len(files[i].Path)
	}
	return n / max(1, len(files))
}

// encodeTo writes the canonical encoding, one file after the other: all of it may
// be very long.
func (m *Manifest) encodeTo(w io.Writer) error {
	c := *m
	if c.Pieces == nil {
		c.Pieces = []byte{} // "" and not null
	}
	if len(m.Files) == 0 {
		return newCanonical(w).encode(&c)
	}
	c.Files = []File{}
	rest, err := canonical(&c)
	if err != nil {
		return err
	}
	// No string has quotes in it without a backslash before them.
	list := []byte(`"files":[]`)
	at := bytes.Index(rest, list)
	if at < 0 {
		return errors.New("the list of files has no place")
	}
	at += len(list) - 1 // behind the bracket
	if _, err := w.Write(rest[:at]); err != nil {
		return err
	}
	e := newCanonical(w)
	for i := range m.Files {
		if i > 0 {
			if _, err := w.Write([]byte{','}); err != nil {
				return err
			}
		}
		if err := e.encode(&m.Files[i]); err != nil {
			return err
		}
	}
	_, err = w.Write(rest[at:])
	return err
}

// canonical encodes v as RFC 8785 wants it.
func canonical(v any) ([]byte, error) {
	var b bytes.Buffer
	err := newCanonical(&b).encode(v)
	return b.Bytes(), err
}

// canonicalEncoder writes values as RFC 8785 wants them. encoding/json does so for
// the structs here, except that it escapes HTML, which is turned off, and two line
// separators, which are put back: that is safe because no string that passes
// the checks has a backslash of its own.
type canonicalEncoder struct {
	w    io.Writer
	b    bytes.Buffer
	json *json.Encoder
}

func newCanonical(w io.Writer) *canonicalEncoder {
	e := &canonicalEncoder{w: w}
	e.json = json.NewEncoder(&e.b)
	e.json.SetEscapeHTML(false)
	return e
}

func (e *canonicalEncoder) encode(v any) error {
	e.b.Reset()
	if err := e.json.Encode(v); err != nil {
		return err
	}
	out := bytes.TrimSuffix(e.b.Bytes(), []byte("\n"))
	if bytes.Contains(out, []byte(`\u202`)) {
		out = bytes.ReplaceAll(out, []byte(`\u2028`), []byte("\u2028"))
		out = bytes.ReplaceAll(out, []byte(`\u2029`), []byte("\u2029"))
	}
	_, err := e.w.Write(out)
	return err
}

// countObjects counts the opening braces outside strings.
func countObjects(data []byte) int {
	n, quoted := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == '{' && !quoted:
			n++
		}
	}
	return n
}

// utc gives a parsed time the location that times made with time.UTC have.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC()
}
