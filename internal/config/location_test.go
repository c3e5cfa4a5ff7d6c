package config

import "testing"

func TestLocationsAllow(t *testing.T) {
	for _, c := range []struct {
		l    Locations
		want map[string]bool
	}{
		{Locations{}, map[string]bool{"": true, "internal": true, "upstream": true}},
		{Locations{Only: []string{"external", "Upstream"}}, map[string]bool{"": false, "internal": false, "EXTERNAL": true, "upstream": true}},
		{Locations{Except: []string{"internal"}}, map[string]bool{"": true, "Internal": false, "external": true, "upstream": true}},
		{Locations{Only: []string{"a", "b"}, Except: []string{"b"}}, map[string]bool{"": false, "a": true, "b": false, "c": false}},
	} {
		for location, want := range c.want {
			if got := c.l.Allows(location); got != want {
				t.Errorf("%v allows %q: %v", c.l, location, got)
			}
		}
	}
}

func TestLocationsRefuse(t *testing.T) {
	for want, c := range map[string]struct {
		l  Locations
		at []string
	}{
		`no mirror is left: location=extrenal allows none of the locations of this content, which are external, internal, upstream; did you mean "external"?`: {Locations{Only: []string{"extrenal"}}, []string{"upstream", "internal", "external", "internal"}},
		`no mirror is left: exclude_location=internal,upstream allows none of the locations of this content, which are internal, upstream`:                    {Locations{Except: []string{"internal", "upstream"}}, []string{"upstream", "internal"}},
		`no mirror is left: location=a and exclude_location=b allows none of the locations of this content, which are (no location), b`:                       {Locations{[]string{"a"}, []string{"b"}}, []string{"b", ""}},
	} {
		if got := c.l.Refuse(c.at).Error(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestBadLocations(t *testing.T) {
	with := func(flags map[string]any) Sources {
		for key, v := range map[string]any{"role": "seed", "master": "http://m:1"} {
			if _, given := flags[key]; !given {
				flags[key] = v
			}
		}
		return Sources{Flags: flags}
	}
	list := func(names ...string) []string { return names }
	for want, src := range map[string]Sources{
		`location "!internal": to leave a location out, write exclude_location: [internal]`:  with(map[string]any{"location": list("!internal")}),
		`location has an empty name: want a location such as external, or upstream`:          {File: write(t, "role: seed\nmaster: http://m:1\nlocation:\n- !internal\n")},
		`exclude_location "a b": a location is one word; give each its own element`:          with(map[string]any{"exclude_location": list("a b")}),
		`"External" is both in location and in exclude_location`:                             with(map[string]any{"location": list("External"), "exclude_location": list("external")}),
		`a master has no mirrors to choose from: set location and exclude_location on seeds`: with(map[string]any{"role": "master", "master": "", "exclude_location": list("external")}),
	} {
		if _, err := Load(src); err == nil || err.Error() != "configuration: "+want {
			t.Errorf("%v; want %q", err, want)
		}
	}
	c, err := Load(with(map[string]any{"exclude_location": list("internal", "upstream")}))
	if err != nil || c.Locations().Allows("upstream") || !c.Locations().Allows("external") {
		t.Errorf("%+v, %v", c, err)
	}
}
