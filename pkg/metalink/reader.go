package metalink

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Bounds of the XML beneath a metalink.
const (
	maxDepth = 32
	// maxRun bounds the bytes from one "<" to the next, and an element's
	// text: what encoding/xml holds in memory at once.
	maxRun = 64 << 10
)

// limiter hands on a document of at most MaxSize bytes that has a "<" every
// maxRun bytes.
type limiter struct {
	r          io.Reader
	total, run int
}

func (l *limiter) Read(b []byte) (int, error) {
	n, err := l.r.Read(b)
	if l.total += n; l.total > MaxSize {
		return 0, fmt.Errorf("the document is larger than %d bytes", MaxSize)
	}
	rest := b[:n]
	for {
		i := bytes.IndexByte(rest, '<')
		if i < 0 {
			l.run += len(rest)
			break
		}
		if l.run += i; l.run > maxRun {
			break
		}
		rest, l.run = rest[i+1:], 0
	}
	if l.run > maxRun {
		return 0, fmt.Errorf("an element or text is larger than %d bytes", maxRun)
	}
	return n, err
}

// reader walks a document element by element.
type reader struct {
	d     *xml.Decoder
	depth int
	first bool
}

func newReader(r io.Reader) *reader {
	br := bufio.NewReader(&limiter{r: r})
	// Windows editors put a byte order mark first; it means nothing in UTF-8.
	if b, err := br.Peek(3); err == nil && string(b) == "\ufeff" {
		_, _ = br.Discard(3) // cannot fail, they are in the buffer
	}
	d := xml.NewDecoder(br)
	d.CharsetReader = func(label string, _ io.Reader) (io.Reader, error) {
		return nil, errors.New("only UTF-8 is allowed")
	}
	return &reader{d: d, first: true}
}

// next returns the next start, end or text. The end of the document is
// io.EOF.
func (r *reader) next() (xml.Token, error) {
	for {
		tok, err := r.d.Token()
		if err != nil {
			return nil, r.explain(err)
		}
		first := r.first
		r.first = false
		switch t := tok.(type) {
		case xml.StartElement:
			if r.depth++; r.depth > maxDepth {
				return nil, r.at(fmt.Errorf("more than %d levels of elements", maxDepth))
			}
			return t, nil
		case xml.EndElement:
			r.depth--
			return t, nil
		case xml.CharData:
			return t, nil
		case xml.Directive:
			return nil, r.at(errors.New("a document type or other directive is not allowed"))
		case xml.ProcInst:
			if !first || t.Target != "xml" {
				return nil, r.at(fmt.Errorf("the processing instruction %.40q is not allowed", t.Target))
			}
		}
	}
}

func (r *reader) at(err error) error {
	line, _ := r.d.InputPos()
	return fmt.Errorf("line %d: %w", line, err)
}

// explain makes the XML decoder's errors understandable.
func (r *reader) explain(err error) error {
	var syntax *xml.SyntaxError
	switch {
	case !errors.As(err, &syntax):
		return err
	case strings.HasPrefix(syntax.Msg, "invalid character entity"):
		return r.at(fmt.Errorf("entities are not allowed: %.60s", syntax.Msg))
	default:
		return r.at(fmt.Errorf("bad XML: %.200s", syntax.Msg))
	}
}

// children calls fn with each element inside the one whose start was read
// last; fn must read it to its end.
func (r *reader) children(fn func(xml.StartElement) error) error {
	for {
		tok, err := r.next()
		if err != nil {
			return unexpected(err)
		}
		switch t := tok.(type) {
		case xml.EndElement:
			return nil
		case xml.StartElement:
			if err := fn(t); err != nil {
				return err
			}
		}
	}
}

// skip reads to the end of the element whose start was read last.
func (r *reader) skip() error {
	for end := r.depth - 1; r.depth > end; {
		if _, err := r.next(); err != nil {
			return unexpected(err)
		}
	}
	return nil
}

// text reads to the end of the element whose start was read last and returns
// its text without white space around it.
func (r *reader) text() (string, error) {
	var b strings.Builder
	for {
		tok, err := r.next()
		if err != nil {
			return "", unexpected(err)
		}
		switch t := tok.(type) {
		case xml.EndElement:
			return strings.TrimSpace(b.String()), nil
		case xml.StartElement:
			if err := r.skip(); err != nil {
				return "", err
			}
		case xml.CharData:
			if b.Len()+len(t) > maxRun {
				return "", r.at(fmt.Errorf("a text is larger than %d bytes", maxRun))
			}
			b.Write(t)
		}
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the document ends too early")
	}
	return err
}

// attr returns the value of an attribute, empty when it is not there.
func attr(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Space == "" && a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// word is attr without white space around the value.
func word(e xml.StartElement, name string) string { return strings.TrimSpace(attr(e, name)) }
