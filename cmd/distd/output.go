package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v3"
)

func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: "print JSON for machines"}
}

func dirFlag(usage string) cli.Flag {
	return &cli.StringFlag{Name: "dir", Usage: usage, Value: "/var/lib/distd"}
}

func printJSON(cmd *cli.Command, v any) error {
	enc := json.NewEncoder(cmd.Root().Writer)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false) // links are copied from it
	return enc.Encode(v)
}

func printf(cmd *cli.Command, format string, args ...any) {
	_, _ = fmt.Fprintf(cmd.Root().Writer, format, args...)
}

// bar shows progress: a line that is redrawn on a terminal, elsewhere a line
// now and then. It is not safe for concurrent use.
type bar struct {
	w        io.Writer
	terminal bool
	what     string
	start    time.Time
	last     time.Time
	drawn    bool
	ended    bool // all of it was there when it was drawn last
}

func newBar(w io.Writer, what string) *bar {
	return &bar{w: w, terminal: isTerminal(w), what: what, start: time.Now(), last: time.Now()}
}

// set draws done of total bytes, with a word on where they come from.
func (b *bar) set(done, total int64, note string) {
	ended := done >= total
	if ended == b.ended && (!b.due() || ended && !b.terminal) {
		return
	}
	b.last, b.ended = time.Now(), ended
	percent := 100.0
	if total > 0 {
		percent = 100 * float64(done) / float64(total)
	}
	rate := float64(done) / max(time.Since(b.start).Seconds(), 0.001)
	line := fmt.Sprintf("%s  %5.1f%%  %s of %s  %s/s%s", b.what, percent, humanize.IBytes(uint64(done)), humanize.IBytes(uint64(total)), humanize.IBytes(uint64(rate)), note)
	b.draw(percent, line)
}

// unsized draws what is done while nobody knows how much it is.
func (b *bar) unsized(note string) {
	if b.due() {
		b.last = time.Now()
		b.draw(0, b.what+note)
	}
}

// due says whether it is time for the next line.
func (b *bar) due() bool {
	if b.terminal {
		return time.Since(b.last) >= 100*time.Millisecond
	}
	return time.Since(b.last) >= 5*time.Second
}

func (b *bar) draw(percent float64, line string) {
	if !b.terminal {
		_, _ = fmt.Fprintln(b.w, line)
		return
	}
	const width = 24
	full := int(percent / 100 * width)
	_, _ = fmt.Fprintf(b.w, "\r\x1b[K[%-*s] %s", width, repeat('=', full), line)
	b.drawn = true
}

// end leaves the line.
func (b *bar) end() {
	if b.drawn {
		_, _ = fmt.Fprintln(b.w)
		b.drawn = false
	}
}

func repeat(c byte, n int) string {
	s := make([]byte, n)
	for i := range s {
		s[i] = c
	}
	return string(s)
}
