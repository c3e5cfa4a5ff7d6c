package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v3"

	"distd/internal/node"
)

// printMirrors shows what each path carried since the start, and the mirrors of
// the releases that are fetched or live.
func printMirrors(cmd *cli.Command, s *node.Status) {
	if line := carried(s.Paths); line != "" {
		printf(cmd, "from mirrors since the start: %s\n", line)
	}
	t := table.NewWriter()
	t.SetOutputMirror(cmd.Root().Writer)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"release", "mirror", "location", "tier", "bytes", "wasted", "requests", "errors", "bad pieces", "state"})
	for _, r := range s.Releases {
		if !s.Current(&r) {
			continue
		}
		for _, m := range r.Mirrors {
			t.AppendRow(table.Row{fmt.Sprintf("%s %d", r.Channel, r.Serial), m.URL, m.Location, m.Tier, humanize.IBytes(uint64(m.Bytes)),
				humanize.IBytes(uint64(m.Wasted)), m.Requests, m.Errors, m.BadPieces, mirrorState(&m)})
		}
	}
	if t.Length() > 0 {
		t.Render()
	}
}

// carried says how much came over each path.
func carried(paths []node.PathStatus) string {
	var parts []string
	for _, p := range paths {
		parts = append(parts, fmt.Sprintf("%s from %s (tier %d)", humanize.IBytes(uint64(p.Bytes)), cmp.Or(p.Location, "no location"), p.Tier))
	}
	return strings.Join(parts, ", ")
}

// mirrorState says of a mirror whether it is good, and else why not and until
// when it is left alone.
func mirrorState(m *node.Mirror) string {
	switch {
	case m.State == "standby":
		return "good, in reserve"
	case m.Good():
		return "good"
	}
	text := "backing off"
	if !m.Trusted() {
		text = "distrusted"
	}
	if !m.RetryAt.IsZero() {
		text += " until " + m.RetryAt.Local().Format(time.TimeOnly)
	}
	return text + ": " + cmp.Or(m.Problem, m.State)
}
