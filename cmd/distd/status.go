package main

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/urfave/cli/v3"

	"distd/internal/node"
)

func statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "show what the daemon of a folder is doing",
		Flags: []cli.Flag{dirFlag("the node's `FOLDER`"), jsonFlag(),
			&cli.BoolFlag{Name: "magnet", Usage: "show the links of channels and releases too"}},
		Action: alone(runStatus),
	}
}

func runStatus(ctx context.Context, cmd *cli.Command) error {
	c, err := node.DialControl(cmd.String("dir"))
	if err != nil {
		return err
	}
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	if cmd.Bool("json") {
		return printJSON(cmd, s)
	}
	state := "ready"
	if !s.Ready {
		state = "not ready: " + s.Problem
	}
	printf(cmd, "%s %s on %s, up %s, %s\n", s.Role, s.Version, s.Dir, time.Duration(s.Uptime*float64(time.Second)), state)
	printUpstreams(cmd, s)
	if l := s.Limits; l.Up+l.Down+l.WANDown > 0 || len(l.Channels)+len(l.Timetables) > 0 {
		printRates(cmd, &l)
	}
	printZone(cmd, s)
	for url, state := range s.Trackers {
		printf(cmd, "tracker %s: %s\n", url, state)
	}
	for _, src := range s.Sources {
		printSource(cmd, &src)
	}
	printWatches(cmd, s.Watches)
	printReleases(cmd, s)
	for _, c := range s.Channels {
		if c.Withdrawn != "" {
			printf(cmd, "%s %d: taken back on this node alone (rollback -local, or its hook failed); the next release becomes live\n", c.Name, c.Serial)
		}
	}
	printMirrors(cmd, s)
	if cmd.Bool("magnet") {
		printLinks(cmd, s)
	}
	for _, r := range s.Releases {
		for _, line := range explain(&r) {
			printf(cmd, "%s %d: %s\n", r.Channel, r.Serial, line)
		}
		if r.Trigger != "" {
			printf(cmd, "%s %d: published by itself; %s\n", r.Channel, r.Serial, r.Trigger)
		}
		if r.Problem != "" {
			printf(cmd, "%s %d: %s\n", r.Channel, r.Serial, r.Problem)
		}
		printDamages(cmd, &r)
	}
	printDisk(cmd, s)
	printScrub(cmd, &s.Scrub)
	return nil
}

// printUpstreams says which nodes are followed, and of those that are not why.
func printUpstreams(cmd *cli.Command, s *node.Status) {
	for _, u := range s.Upstream {
		answer := "is followed"
		switch {
		case u.Problem != "":
			answer = "is not followed since " + u.Since.Local().Format(time.DateTime) + ": " + u.Problem
		case u.Spare:
			answer = "is followed when no seed is there"
		case !u.Following:
			answer = "has not answered yet"
		}
		printf(cmd, "upstream %s %s\n", u.URL, answer)
		for ch, p := range u.Problems {
			printf(cmd, "  channel %s: %s\n", ch, p)
		}
	}
}

// printZone says which zone the node is in and what was kept out of it.
func printZone(cmd *cli.Command, s *node.Status) {
	if s.Zone == "" && len(s.ZoneNet) == 0 {
		return
	}
	line := "zone"
	if s.Zone != "" {
		line += " " + s.Zone
	}
	for i, p := range s.ZoneNet {
		line += [...]string{": ", ", "}[min(i, 1)] + p.String()
	}
	for i, source := range slices.Sorted(maps.Keys(s.KeptOut)) {
		line += [...]string{"; kept out: ", ", "}[min(i, 1)] + humanize.Comma(s.KeptOut[source]) + " " + source
	}
	printf(cmd, "%s\n", line)
}

// printLinks shows by which links channels and releases can be had, each in a
// line of its own.
func printLinks(cmd *cli.Command, s *node.Status) {
	for _, c := range s.Channels {
		if c.Link != "" {
			printf(cmd, "channel %s: %s\n", c.Name, c.Link)
		}
	}
	for _, r := range s.Releases {
		printf(cmd, "%s %d: %s\n", r.Channel, r.Serial, r.Magnet)
	}
}

// printSource shows one way of finding peers.
func printSource(cmd *cli.Command, s *node.SourceStatus) {
	state := "silent"
	if s.Alive {
		state = "alive"
	}
	printf(cmd, "source %s: %s, %s", s.Name, state, s.Detail)
	if s.Known > 0 {
		printf(cmd, "; %d of %d addresses from it are connected", s.Peers, s.Known)
	}
	for i, why := range slices.Sorted(maps.Keys(s.Refused)) {
		printf(cmd, "%s%s %s", [...]string{"; refused: ", ", "}[min(i, 1)], humanize.Comma(int64(s.Refused[why])), why)
	}
	printf(cmd, "\n")
}

// printReleases shows all releases in a table.
func printReleases(cmd *cli.Command, s *node.Status) {
	t := table.NewWriter()
	t.SetOutputMirror(cmd.Root().Writer)
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row{"channel", "serial", "name", "state", "done", "size", "from mirrors", "from peers", "sent", "peers", "on disk", "hook"})
	live := map[string]bool{}
	for _, c := range s.Channels {
		live[c.Live] = true
	}
	for _, r := range s.Releases {
		if live[r.ID] {
			r.State += ", live"
		}
		hook := r.HookOutcome
		if r.HookAttempts > 1 {
			hook += " (attempt " + humanize.Comma(int64(r.HookAttempts)) + ")"
		}
		t.AppendRow(table.Row{r.Channel, r.Serial, r.Name, r.State, percent(r), humanize.IBytes(uint64(r.Size)),
			humanize.IBytes(uint64(r.FromMirrors)), humanize.IBytes(uint64(r.FromPeers)), humanize.IBytes(uint64(r.Uploaded)), r.Peers, humanize.IBytes(uint64(r.BytesOnDisk)), hook})
	}
	t.Render()
}

func percent(r node.ReleaseStatus) string {
	if r.Size == 0 {
		return "100%"
	}
	return humanize.FtoaWithDigits(100*float64(r.Size-r.BytesLeft)/float64(r.Size), 1) + "%"
}

// printDamages names what differs from a release's manifest.
func printDamages(cmd *cli.Command, r *node.ReleaseStatus) {
	for _, p := range r.Damages {
		printf(cmd, "%s %d: damaged: %s\n", r.Channel, r.Serial, p)
	}
	if more := r.Damaged - len(r.Damages); more > 0 {
		printf(cmd, "%s %d: damaged: %d more (distd verify names all)\n", r.Channel, r.Serial, more)
	}
}

func printScrub(cmd *cli.Command, s *node.ScrubStatus) {
	switch {
	case s.Running:
		printf(cmd, "scrub: running since %s\n", s.Started.Local().Format(time.DateTime))
	case !s.Next.IsZero() && !s.Finished.IsZero():
		printf(cmd, "scrub: last one ended %s, next one from %s\n", s.Finished.Local().Format(time.DateTime), s.Next.Local().Format(time.DateTime))
	case !s.Next.IsZero():
		printf(cmd, "scrub: first one from %s\n", s.Next.Local().Format(time.DateTime))
	}
}

// printDisk says what is kept and how much space it takes.
func printDisk(cmd *cli.Command, s *node.Status) {
	kept := 0
	for _, r := range s.Releases {
		if r.Have == r.Pieces {
			kept++
		}
	}
	d := &s.Disk
	state := ""
	if d.Short {
		state = "; a release waits for space"
	}
	printf(cmd, "disk: %s kept in %s; %s of %s free, %s stay free%s\n", count(kept, "release"), humanize.IBytes(uint64(d.Releases)),
		humanize.IBytes(uint64(d.Free)), humanize.IBytes(uint64(d.Size)), humanize.IBytes(uint64(d.MinFree)), state)
}
