package integration

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestUnits has systemd read the units, with the program at another place.
func TestUnits(t *testing.T) {
	t.Parallel()
	analyze := need(t, "systemd-analyze")
	units, err := filepath.Glob("../../systemd/*.service")
	must(t, err)
	if len(units) != 4 {
		t.Fatalf("%d units, want those of master, seed, leaf and tracker", len(units))
	}
	dir := t.TempDir()
	argv := []string{"verify", "--man=no"}
	for _, unit := range units {
		b, err := os.ReadFile(unit)
		must(t, err)
		changed := bytes.Replace(b, []byte("ExecStart=/usr/bin/distd "), []byte("ExecStart="+bin+" "), 1)
		if bytes.Equal(b, changed) {
			t.Errorf("%s does not start /usr/bin/distd", unit)
		}
		copied := filepath.Join(dir, filepath.Base(unit))
		must(t, os.WriteFile(copied, changed, 0o644))
		argv = append(argv, copied)
	}
	out, err := exec.Command(analyze, argv...).CombinedOutput()
	if err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
