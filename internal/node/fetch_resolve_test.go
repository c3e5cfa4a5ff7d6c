package node

import (
	"strings"
	"testing"

	"distd/pkg/httpfetch"
)

func TestDistinct(t *testing.T) {
	a := func(url string) *target {
		return &target{name: "a", key: "1", mirrors: []httpfetch.Mirror{{URL: url}}}
	}
	got, err := distinct([]*target{a("x"), {name: "b/c", key: "2"}, a("y"), {name: "b/d", key: "3"}})
	if err != nil || len(got) != 3 || got[1].name != "b/c" {
		t.Fatalf("got %+v, %v", got, err)
	}
	if m := got[0].mirrors; len(m) != 2 || m[0].URL != "x" || m[1].URL != "y" {
		t.Errorf("mirrors of what came twice: %+v", m)
	}
	for _, clash := range []string{"b/c", "b", "b/c/d"} {
		_, err := distinct([]*target{{name: "b/c", key: "2"}, {name: clash, key: "9"}})
		if err == nil || !strings.Contains(err.Error(), "one name") {
			t.Errorf("b/c beside another %s: %v", clash, err)
		}
	}
}
