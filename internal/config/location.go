package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Upstream is the location of the node that is followed, as a place of the
// content.
const Upstream = "upstream"

// Locations say by name which mirrors may be used. The zero value allows all.
type Locations struct {
	Only   []string // none: any
	Except []string // wins over Only
}

// Locations are those that the configuration allows.
func (c *Config) Locations() Locations { return Locations{c.Location, c.ExcludeLocation} }

// Allows says whether a mirror of that location may be used. One without a
// location has the empty one, which is none of those that Only names.
func (l Locations) Allows(location string) bool {
	same := func(name string) bool { return strings.EqualFold(name, location) }
	return (len(l.Only) == 0 || slices.ContainsFunc(l.Only, same)) && !slices.ContainsFunc(l.Except, same)
}

// Any says that every location is allowed.
func (l Locations) Any() bool { return len(l.Only)+len(l.Except) == 0 }

// String has the settings as they are written.
func (l Locations) String() string {
	var parts []string
	if len(l.Only) > 0 {
		parts = append(parts, "location="+strings.Join(l.Only, ","))
	}
	if len(l.Except) > 0 {
		parts = append(parts, "exclude_location="+strings.Join(l.Except, ","))
	}
	return strings.Join(parts, " and ")
}

// Refuse is the error for content that is at these locations only, none of
// which is allowed.
func (l Locations) Refuse(at []string) error {
	at = slices.Compact(slices.Sorted(slices.Values(at)))
	hint := ""
	for _, name := range l.Only {
		if !slices.ContainsFunc(at, func(s string) bool { return strings.EqualFold(s, name) }) {
			hint += Nearest(name, at)
		}
	}
	for i, name := range at {
		if name == "" {
			at[i] = "(no location)"
		}
	}
	return fmt.Errorf("no mirror is left: %v allows none of the locations of this content, which are %s%s", l, strings.Join(at, ", "), hint)
}

// Check reports a name that can be no location.
func (l Locations) Check() error {
	for key, names := range map[string][]string{"location": l.Only, "exclude_location": l.Except} {
		for _, name := range names {
			switch {
			case name == "":
				return fmt.Errorf("%s has an empty name: want a location such as external, or %s", key, Upstream)
			case strings.HasPrefix(name, "!"):
				return fmt.Errorf("%s %q: to leave a location out, write exclude_location: [%s]", key, name, name[1:])
			case strings.ContainsAny(name, " \t\n"):
				return fmt.Errorf("%s %q: a location is one word; give each its own element", key, name)
			}
		}
	}
	for _, name := range l.Only {
		if !l.Allows(name) {
			return fmt.Errorf("%q is both in location and in exclude_location", name)
		}
	}
	return nil
}

// checkLocations checks which mirrors may be used.
func (c *Config) checkLocations() error {
	if c.Role == RoleMaster && !c.Locations().Any() {
		return errors.New("a master has no mirrors to choose from: set location and exclude_location on seeds")
	}
	return c.Locations().Check()
}
