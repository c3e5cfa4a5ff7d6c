package metalink

import (
	"bytes"
	"strconv"
	"strings"
)

// encoder collects a document's lines. Each element stands on a line of its
// own, with a tab for each level.
type encoder struct {
	b       bytes.Buffer
	level   int
	written int   // files
	err     error // why the document cannot be written
}

func (e *encoder) indent() {
	for range e.level {
		e.b.WriteByte('\t')
	}
}

func (e *encoder) raw(line string) {
	e.indent()
	e.b.WriteString(line)
	e.b.WriteByte('\n')
}

// element writes one element on one line. attrs are names and values; those
// with an empty value are left out.
func (e *encoder) element(name, text string, attrs ...string) {
	e.start(name, attrs)
	e.text(text, textEscaper)
	e.b.WriteString("</")
	e.b.WriteString(name)
	e.b.WriteString(">\n")
}

// open starts an element that has others in it, up to close.
func (e *encoder) open(name string, attrs ...string) {
	e.start(name, attrs)
	e.b.WriteByte('\n')
	e.level++
}

func (e *encoder) close(name string) {
	e.level--
	e.raw("</" + name + ">")
}

func (e *encoder) start(name string, attrs []string) {
	e.indent()
	e.b.WriteByte('<')
	e.b.WriteString(name)
	for i := 0; i < len(attrs); i += 2 {
		if attrs[i+1] != "" {
			e.b.WriteByte(' ')
			e.attr(attrs[i], attrs[i+1])
		}
	}
	e.b.WriteByte('>')
}

func (e *encoder) attr(name, value string) {
	e.b.WriteString(name)
	e.b.WriteString(`="`)
	e.text(value, attrEscaper)
	e.b.WriteByte('"')
}

// text writes a value with its escapes. Most have none.
func (e *encoder) text(s string, escaper *strings.Replacer) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '&' || c == '<' || c == '>' || c == '"' {
			_, _ = escaper.WriteString(&e.b, legal(s)) // a buffer takes everything
			return
		}
	}
	e.b.WriteString(s)
}

// The escapes of the `metalink` program, and those of white space that readers
// change otherwise.
var (
	textEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\r", "&#xD;")
	attrEscaper = strings.NewReplacer("&", "&amp;", `"`, "&quot;", "<", "&lt;", ">", "&gt;", "\t", "&#x9;", "\n", "&#xA;", "\r", "&#xD;")
)

// legal replaces what XML does not have, escaped or not.
func legal(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == '\ufffe' || r == '\uffff' {
			return '\ufffd'
		}
		return r
	}, s)
}

func positive(n int) string {
	if n < 1 {
		return ""
	}
	return strconv.Itoa(n)
}

// given is empty for the priority that URLs have without any.
func given(priority int) string {
	if priority == LowestPriority {
		return ""
	}
	return strconv.Itoa(priority)
}

// header writes the header and a line feed, as the `metalink` program does.
func (e *encoder) header(d *Document) {
	if len(d.Header) > 0 {
		e.b.Write(d.Header)
		e.b.WriteByte('\n')
	}
}
