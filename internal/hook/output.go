package hook

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"go.uber.org/zap"
)

// Bounds of what is kept and logged of a hook's output.
const (
	maxLine  = 1024 // bytes; the rest of a longer line is dropped
	maxLines = 2000 // lines in the log; later ones are only counted
	maxTail  = 4096 // bytes of the output's end in Result.Output
)

// lineLog is an io.Writer that logs what is written to it line by line, in
// memory of fixed size.
type lineLog struct {
	log  *zap.Logger
	copy io.Writer // of the lines, or nil

	mu    sync.Mutex
	line  []byte // the unfinished line, at most maxLine bytes
	cut   bool   // the unfinished line was longer
	lines int
	tail  []byte // at most 2*maxTail, shortened from the front
}

func newLineLog(log *zap.Logger) *lineLog { return &lineLog{log: log} }

// Write takes all of p and never fails: an error would make os/exec stop
// reading, and the hook would die of SIGPIPE.
func (w *lineLog) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keepTail(p)
	for rest := p; len(rest) > 0; {
		i := indexNewline(rest)
		if i < 0 {
			w.extend(rest)
			break
		}
		w.extend(rest[:i])
		w.emit()
		rest = rest[i+1:]
	}
	return len(p), nil
}

func indexNewline(p []byte) int {
	for i, b := range p {
		if b == '\n' {
			return i
		}
	}
	return -1
}

func (w *lineLog) extend(p []byte) {
	room := maxLine - len(w.line)
	if len(p) > room {
		w.cut = true
		p = p[:room]
	}
	w.line = append(w.line, p...)
}

// emit logs the line that is complete now.
func (w *lineLog) emit() {
	w.lines++
	if w.lines <= maxLines {
		s := clean(string(w.line))
		if w.cut {
			s += " [...]"
		}
		w.log.Info("hook: output", zap.String("line", s))
		if w.copy != nil {
			_, _ = fmt.Fprintln(w.copy, s) // who does not read it any more does not want it
		}
	}
	w.line, w.cut = w.line[:0], false
}

// flush logs a last line without a newline, and how much was not logged.
func (w *lineLog) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.line) > 0 {
		w.emit()
	}
	if w.lines > maxLines {
		w.log.Warn("hook: output too long, the rest is not logged", zap.Int("lines", w.lines), zap.Int("logged", maxLines))
	}
}

func (w *lineLog) keepTail(p []byte) {
	if len(p) > maxTail {
		p = p[len(p)-maxTail:]
	}
	w.tail = append(w.tail, p...)
	if n := len(w.tail); n > maxTail {
		w.tail = append(w.tail[:0], w.tail[n-maxTail:]...)
	}
}

func (w *lineLog) tailString() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.tail
	for len(t) > 0 && !utf8.RuneStart(t[0]) { // cut inside a character
		t = t[1:]
	}
	return strings.TrimSpace(clean(string(t)))
}

// clean makes foreign text fit for a terminal: valid UTF-8 and no control
// characters but tab and newline, so that it cannot steer the terminal of who
// reads the log.
func clean(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n':
			return r
		case r == '\r':
			return -1
		case unicode.IsControl(r):
			return '.'
		}
		return r
	}, s)
}
