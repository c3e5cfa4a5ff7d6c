package watch

import (
	"testing"
	"time"
)

func TestStatusInWords(t *testing.T) {
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.Local)
	for want, s := range map[string]Status{
		"watching": {State: Watching},
		"settling since 03:04:05, 12 changed: busy":                                         {State: Settling, Since: at, Changed: 12, Problem: "busy"},
		"waiting since 03:04:05 for a/b, which is open for writing (and 2 more), 1 changed": {State: Waiting, Since: at, WaitingFor: "a/b", Others: 2, Changed: 1},
		"watching, 3 changed, publishes when .publish is touched":                           {State: Watching, Changed: 3, Marker: ".publish"},
		"held since 03:04:05: bad name; incomplete: too few watches":                        {State: Held, Since: at, Problem: "bad name", Incomplete: "too few watches"},
		"watching, 2 ignored": {State: Watching, Ignored: 2},
		"paused since 03:04:05, by the rollback to 4, 1 changed, the newest release, 9, is not from here": {State: Paused, Since: at, PausedBecause: "by the rollback to 4", Changed: 1, Newest: 9},
		"paused since 03:04:05": {State: Paused, Since: at},
	} {
		if got := s.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for want, l := range map[string]Last{
		"03:04:05, marker .publish: release 7":                                              {At: at, Because: "marker .publish", Outcome: Outcome{Serial: 7}},
		"03:04:05, first look: nothing new, release 7 has this content":                     {At: at, Because: "first look", Outcome: Outcome{Serial: 7, Unchanged: true}},
		"03:04:05, changed: a: release 7, without 2 files and folders that may not be read": {At: at, Because: "changed: a", Outcome: Outcome{Serial: 7, Unreadable: 2}},
		"03:04:05, rescan: changed in .: busy":                                              {At: at, Because: "rescan: changed in .", Error: "busy"},
	} {
		if got := l.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
