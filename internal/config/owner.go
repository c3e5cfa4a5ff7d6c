package config

import (
	"errors"
	"fmt"
	"math"
	"os/user"
	"strconv"
	"strings"
)

// OwnerIDs are the user and the group that owner names, -1 for one that it does
// not name. Names are looked up on this host.
func (c *Config) OwnerIDs() (uid, gid int, err error) {
	uid, gid = -1, -1
	if c.Owner == "" {
		return uid, gid, nil
	}
	name, group, both := strings.Cut(c.Owner, ":")
	if name == "" && group == "" || both && group == "" {
		return -1, -1, fmt.Errorf("owner %q is not USER, USER:GROUP or :GROUP", c.Owner)
	}
	if name != "" {
		if uid, err = lookUp(name, func() (string, error) {
			u, err := user.Lookup(name)
			if err != nil {
				return "", err
			}
			return u.Uid, nil
		}); err != nil {
			return -1, -1, fmt.Errorf("owner %q: there is no user %q on this host (%w): make it, or give its number", c.Owner, name, err)
		}
	}
	if group != "" {
		if gid, err = lookUp(group, func() (string, error) {
			g, err := user.LookupGroup(group)
			if err != nil {
				return "", err
			}
			return g.Gid, nil
		}); err != nil {
			return -1, -1, fmt.Errorf("owner %q: there is no group %q on this host (%w): make it, or give its number", c.Owner, group, err)
		}
	}
	return uid, gid, nil
}

// lookUp returns the number of a user or group; what is a number stands for itself.
func lookUp(name string, find func() (string, error)) (int, error) {
	id := name
	if strings.Trim(name, "0123456789") != "" {
		var err error
		if id, err = find(); err != nil {
			return 0, err
		}
	}
	// The highest number means "as it is" to the kernel.
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil || n == math.MaxUint32 {
		return 0, fmt.Errorf("%q is no number of one", id)
	}
	return int(n), nil
}

func (c *Config) checkOwner() error {
	if c.Owner != "" && c.Role == RoleMaster {
		return errors.New("owner is for seeds and leaves, which make releases live: remove it")
	}
	_, _, err := c.OwnerIDs()
	return err
}
