package config

import (
	"os/user"
	"strings"
	"testing"
)

func TestOwner(t *testing.T) {
	// Who runs the test and his group are there by name.
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(me.Gid)
	if err != nil {
		t.Fatal(err)
	}
	uid, err := lookUp(me.Uid, nil)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := lookUp(me.Gid, nil)
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string][2]int{
		"": {-1, -1}, "33": {33, -1}, "33:44": {33, 44}, ":44": {-1, 44}, "0:0": {0, 0},
		me.Username: {uid, -1}, me.Username + ":" + group.Name: {uid, gid}, ":" + group.Name: {-1, gid}, "7:" + group.Name: {7, gid},
	} {
		c := Config{Role: RoleLeaf, Owner: in}
		if u, g, err := c.OwnerIDs(); err != nil || u != want[0] || g != want[1] {
			t.Errorf("owner %q: %d, %d, %v, want %v", in, u, g, err, want)
		}
		if err := c.checkOwner(); err != nil {
			t.Errorf("owner %q: %v", in, err)
		}
	}
	for in, want := range map[string]string{
		":": "USER:GROUP", "33:": "USER:GROUP", "no-such-user": `no user "no-such-user"`, "0:no-such-group": `no group "no-such-group"`, ":no-such-group": "no group",
		"4294967295": "no number", "99999999999": "no number", "-1": "no user", "a:b:c": "no user", "1:2:3": "no group",
	} {
		c := Config{Role: RoleSeed, Owner: in}
		if err := c.checkOwner(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("owner %q: error %v, want one with %q", in, err, want)
		}
	}
	c := Config{Role: RoleMaster, Owner: "0"}
	if err := c.checkOwner(); err == nil || !strings.Contains(err.Error(), "seeds and leaves") {
		t.Errorf("on a master: %v", err)
	}
}
