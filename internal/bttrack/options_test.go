package bttrack

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// options reads options given as name, value, name, value.
func options(t *testing.T, args ...string) (*Options, error) {
	t.Helper()
	given := map[string]string{}
	for i := 0; i < len(args); i += 2 {
		if !slices.ContainsFunc(Flags(), func(f Flag) bool { return f.Name == args[i] }) {
			t.Fatalf("there is no option %s", args[i])
		}
		given[args[i]] = args[i+1]
	}
	return ParseOptions(func(name string) (string, bool) {
		if v, ok := given[name]; ok {
			return v, true
		}
		for _, f := range Flags() {
			if f.Name == name {
				return f.Default, false
			}
		}
		t.Fatalf("option %s is read and not listed", name)
		return "", false
	})
}

func TestOptions(t *testing.T) {
	o, err := options(t, "dfile", "/d", "port", "85", "reannounce_interval", "5", "bind", "127.0.0.1, ::1", "scrape_allowed", "specific")
	if err != nil || o.Port != 85 || o.Interval != 5*time.Second || len(o.Bind) != 2 || !o.ScrapeOne || o.ScrapeAll || !o.CompactRequired || o.AnyGivenIP || len(o.Warnings) != 0 {
		t.Errorf("%+v %v", o, err)
	}
	for _, bad := range [][]string{
		{}, {"dfile", "/d", "port", "x"}, {"dfile", "/d", "port", "70000"}, {"dfile", "/d", "reannounce_interval", "0"},
		{"dfile", "/d", "reannounce_interval", "NaN"}, {"dfile", "/d", "compact_reqd", "yes"}, {"dfile", "/d", "scrape_allowed", "some"},
		{"dfile", "/d", "infopage_redirect", "javascript:alert(1)"},
	} {
		if o, err := options(t, bad...); err == nil {
			t.Errorf("%q gives %+v", bad, o)
		}
	}
}

// TestIdleOptionsWarn: what does nothing here is accepted, and says why, unless
// its value asks for nothing.
func TestIdleOptionsWarn(t *testing.T) {
	for _, f := range Flags() {
		if f.Idle == "" {
			continue
		}
		o, err := options(t, "dfile", "/d", f.Name, "7")
		if err != nil || len(o.Warnings) != 1 || !strings.Contains(o.Warnings[0], f.Idle) {
			t.Errorf("%s: %v %v", f.Name, o, err)
		}
		if f.None != "" {
			if o, err := options(t, "dfile", "/d", f.Name, f.None); err != nil || len(o.Warnings) != 0 {
				t.Errorf("%s %s: %v %v", f.Name, f.None, o, err)
			}
		}
	}
	o, err := options(t, "dfile", "/d", "reannounce_interval", "3600", "allowed_dir", "/a", "allowed_list", "/l", "allow_get", "1")
	if err != nil || len(o.Warnings) != 3 || o.Expiry != 90*time.Minute || o.AllowedDir != "" {
		t.Errorf("%+v %v", o, err)
	}
}
