package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBadValues: a value of the wrong kind is named with its key and with what
// would do, wherever it comes from.
func TestBadValues(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte("role: leaf\nseed: [http://s:1]\nkeep: {a: 1}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	leaf := func(key string, v any) map[string]any {
		return map[string]any{"role": "leaf", "seed": []string{"http://s:1"}, key: v}
	}
	const noRate = "is not a rate such as 10MiB (bytes a second, 16KiB at least; 0 or off is no limit), or a timetable such as 08:00,20MiB 19:00,off"
	for want, src := range map[string]Sources{
		`keep "many" is not a whole number`:                            {Flags: leaf("keep", "many")},
		`hook_timeout "5x" is not a duration such as 30s, 5m or 1h30m`: {Flags: leaf("keep", "1"), Env: []string{"DISTD_HOOK_TIMEOUT=5x"}},
		`memory "12XB" is not a size such as 64MiB`:                    {Flags: leaf("memory", "12XB")},
		`up "12" ` + noRate:                                            {Flags: leaf("up", "12")},
		`down "12" ` + noRate:                                          {Flags: leaf("down", 12)},
		`wan_down entry "25:00,1MiB": "25:00" is not a time from 00:00 to 23:59, such as 08:00`:    {Flags: leaf("wan_down", "08:00,off 25:00,1MiB")},
		`channel_up "web": want CHANNEL=RATE, such as web=10MiB`:                                   {Flags: leaf("channel_up", []string{"web"})},
		`channel_down "web=no": "no" ` + noRate:                                                    {Flags: leaf("channel_down", []string{"web=no"})},
		`channel_down "web=1MiB": there is another rate for the channel; give it one`:              {Flags: leaf("channel_down", []string{"web=2MiB", "web=1MiB"})},
		`dscp "fast" is neither a number from 0 to 63 nor one of cs0 to cs7, af11 to af43, ef, le`: {Flags: leaf("dscp", "fast")},
		`max_peers_per_release must be more than zero`:                                             {Flags: leaf("max_peers_per_release", "0")},
		`keep "map[a:1]" is not a whole number`:                                                    {File: file},
		`seed "h:6969" is not a URL such as https://bt.master:8443; did you mean "http://h:6969"?`: {Flags: leaf("seed", []string{"h:6969"})},
	} {
		_, err := Load(src)
		if err == nil || err.Error() != "configuration: "+want {
			t.Errorf("%v; want %q", err, want)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("more than one line: %q", err)
		}
	}
}
