package netlab

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const stat = "4711 (a ) b) S 1 4242 4711 0 -1 4194560 100 200 0 0 7 5 3 2 20 0 1 0 12345 1000 10\n"
	if group, ticks := parseStat(stat); group != 4242 || ticks != 7+5+3+2 {
		t.Errorf("group %d, %d ticks", group, ticks)
	}
	if group, ticks := parseStat("4711 (gone"); group != 0 || ticks != 0 {
		t.Errorf("of a torn line: group %d, %d ticks", group, ticks)
	}
}

// A process that has started others takes them along, and its CPU is theirs too.
func TestKillEndsTheGroup(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "pid")
	h := Loopback("here", netip.MustParseAddr("127.0.0.1"))
	p, err := h.Start(filepath.Join(dir, "log"), "sh", "-c", `sh -c 'echo $$ > "$1.new"; mv "$1.new" "$1"; while :; do :; done' sh "$1"; true`, "sh", fifo)
	must(t, err)
	defer p.Kill()
	must(t, await(t.Context(), 5*time.Millisecond, "the child runs", func() (bool, error) {
		_, err := os.Stat(fifo)
		return err == nil, nil
	}))
	must(t, await(t.Context(), 5*time.Millisecond, "the child's CPU counts", func() (bool, error) { return p.CPU() > 50*time.Millisecond, nil }))
	pid, err := os.ReadFile(fifo)
	must(t, err)
	p.Kill()
	must(t, await(t.Context(), 5*time.Millisecond, "the child is gone", func() (bool, error) {
		// Whoever inherits it may take its time to notice: a zombie has ended.
		stat, err := os.ReadFile(filepath.Join("/proc", strings.TrimSpace(string(pid)), "stat"))
		return err != nil || strings.Contains(string(stat), ") Z "), nil
	}))
}
