package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"distd/internal/node"
)

// publish publishes as an operator would and returns the release's serial.
func (f *farm) publish(ctx context.Context, source string) (uint64, error) {
	cmd := exec.CommandContext(ctx, f.Bin, "publish", "-dir="+f.master.dir, "-channel="+channel, "-json", source)
	var stderr bytes.Buffer
	cmd.Stderr, cmd.Env = &stderr, cleanEnv()
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("publish: %w\n%s", err, stderr.String())
	}
	var res struct{ Serial uint64 }
	if err := json.Unmarshal(out, &res); err != nil {
		return 0, fmt.Errorf("publish printed %q: %w", out, err)
	}
	return res.Serial, nil
}

// await watches all nodes until every leaf's hook has run for the release, and
// returns how long each leaf took.
func (f *farm) await(ctx context.Context, serial uint64, start time.Time) (map[*member]time.Duration, error) {
	times := map[*member]time.Duration{}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	view := &view{farm: f, serial: serial}
	defer view.end()
	for len(times) < len(f.leaves) {
		for _, m := range f.leaves {
			if _, ok := times[m]; !ok && hookRuns(f.Dir, m, serial) > 0 {
				times[m] = time.Since(start)
			}
		}
		view.draw(ctx)
		for _, m := range f.members {
			select {
			case err := <-m.done:
				m.done <- err
				return nil, fmt.Errorf("%s ended: %w\n%s", m.name, err, tail(m.dir+".log"))
			default:
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d leaves have release %d: %w", len(times), len(f.leaves), serial, ctx.Err())
		case <-tick.C:
		}
	}
	return times, nil
}

// hookRuns counts the runs of a leaf's hook for a release.
func hookRuns(dir string, m *member, serial uint64) int {
	file, err := os.Open(hookLog(dir, m))
	if err != nil {
		return 0
	}
	defer func() { _ = file.Close() }()
	n := 0
	for s := bufio.NewScanner(file); s.Scan(); {
		if first, _, _ := strings.Cut(s.Text(), " "); first == strconv.FormatUint(serial, 10) {
			n++
		}
	}
	return n
}

// release asks a member for its state of the demo's release.
func (m *member) release(ctx context.Context, serial uint64) (node.ReleaseStatus, error) {
	c, err := node.DialControl(m.dir)
	if err != nil {
		return node.ReleaseStatus{}, err
	}
	s, err := c.Status(ctx)
	if err != nil {
		return node.ReleaseStatus{}, err
	}
	for _, r := range s.Releases {
		if r.Channel == channel && r.Serial == serial {
			return r, nil
		}
	}
	return node.ReleaseStatus{State: "waiting"}, nil
}

// view shows every node's progress: redrawn in place on a terminal, elsewhere
// a line now and then.
type view struct {
	farm   *farm
	serial uint64
	last   time.Time
	lines  int
}

func (v *view) draw(ctx context.Context) {
	every := 2 * time.Second
	if v.farm.Terminal {
		every = 200 * time.Millisecond
	}
	if time.Since(v.last) < every {
		return
	}
	v.last = time.Now()
	var b strings.Builder
	var short []string
	for _, m := range v.farm.members[1:] {
		r, err := m.release(ctx, v.serial)
		if err != nil {
			continue
		}
		percent := 0.0
		if r.Size > 0 {
			percent = 100 * float64(r.Size-r.BytesLeft) / float64(r.Size)
		}
		const width = 30
		fmt.Fprintf(&b, "  %-10s [%-*s] %5.1f%%  %s\x1b[K\n", m.name, width, strings.Repeat("=", int(percent/100*width)), percent, r.State)
		short = append(short, fmt.Sprintf("%s %.0f%%", m.name, percent))
	}
	if !v.farm.Terminal {
		v.farm.printf("  %s\n", strings.Join(short, "  "))
		return
	}
	v.end()
	v.farm.printf("%s", b.String())
	v.lines = strings.Count(b.String(), "\n")
}

// end takes the drawing away, so that what follows takes its place.
func (v *view) end() {
	if v.lines > 0 {
		v.farm.printf("\x1b[%dA\x1b[J", v.lines)
		v.lines = 0
	}
}

// report prints the table of one release and checks what it shows.
func (f *farm) report(ctx context.Context, n int, serial uint64, source string, times map[*member]time.Duration) error {
	// A hook that ran twice would do so at once.
	time.Sleep(200 * time.Millisecond)
	t := table.NewWriter()
	t.SetOutputMirror(f.Out)
	t.SetStyle(table.StyleLight)
	t.SetTitle("Release %d", n)
	t.AppendHeader(table.Row{"leaf", "seconds", "MiB from mirrors", "MiB from peers", "hook runs", "equal"})
	var problems []error
	mib := func(b int64) string { return fmt.Sprintf("%.1f", float64(b)/(1<<20)) }
	for _, m := range f.leaves {
		r, err := m.release(ctx, serial)
		if err != nil {
			return err
		}
		runs := hookRuns(f.Dir, m, serial)
		if runs != 1 {
			problems = append(problems, fmt.Errorf("%s: its hook ran %d times", m.name, runs))
		}
		equal := "yes"
		if err := sameFile(source, filepath.Join(m.dir, filepath.Base(source))); err != nil {
			equal = "NO"
			problems = append(problems, fmt.Errorf("%s: %w", m.name, err))
		}
		t.AppendRow(table.Row{m.name, fmt.Sprintf("%.2f", times[m].Seconds()), mib(r.FromMirrors), mib(r.FromPeers), runs, equal})
	}
	t.Render()
	more, err := f.longLinks(ctx, n, serial)
	if err != nil {
		return err
	}
	problems = append(problems, more...)
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("%w:\n%w", ErrDiffers, err)
	}
	return nil
}

// sameFile compares two files byte by byte.
func sameFile(a, b string) error {
	fa, err := os.Open(a)
	if err != nil {
		return err
	}
	defer func() { _ = fa.Close() }()
	fb, err := os.Open(b)
	if err != nil {
		return err
	}
	defer func() { _ = fb.Close() }()
	ra, rb := bufio.NewReaderSize(fa, 1<<20), bufio.NewReaderSize(fb, 1<<20)
	ba, bb := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); ; off += int64(len(ba)) {
		na, erra := io.ReadFull(ra, ba)
		nb, errb := io.ReadFull(rb, bb)
		if !bytes.Equal(ba[:na], bb[:nb]) {
			return fmt.Errorf("%s differs from %s behind byte %d", b, a, off)
		}
		if erra != nil || errb != nil {
			if errors.Is(erra, io.EOF) && errors.Is(errb, io.EOF) || errors.Is(erra, io.ErrUnexpectedEOF) && errors.Is(errb, io.ErrUnexpectedEOF) {
				return nil
			}
			return errors.Join(erra, errb)
		}
	}
}
