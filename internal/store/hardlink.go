package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// What a release promises of its files: those that the manifest names as further
// names of another one are the same inode as that, and no two others of the
// release are. What releases share with each other is no part of it.

// makeHardLinks gives files their further names, once they are what they shall be.
// Those of files that leave says are not touched. A name that is there is replaced
// in one step.
func (c *content) makeHardLinks(ctx context.Context, leave func(first string) bool) error {
	relieved := map[string]bool{}
	for i := 0; i < len(c.m.Files); i++ {
		f := &c.m.Files[i]
		if f.Hardlink == "" {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		first := c.m.ContentPath(f.Hardlink)
		if leave != nil && leave(first) {
			continue
		}
		err := c.makeHardLink(first, c.m.ContentPath(f.Path))
		switch {
		case errors.Is(err, unix.EMLINK) && !relieved[first]:
			// Earlier releases have names of it too. In a file of its own there
			// is room for all of this one, and they are made anew.
			if err := c.unshare(first); err != nil {
				return err
			}
			relieved[first] = true
			i = c.m.FileIndex(f.Hardlink)
		case noLinks(err):
			return fmt.Errorf("%w: the release has hard links, and the file system of %s does not permit this one: use another one, or publish copies", err, c.dir)
		case err != nil:
			return err
		}
	}
	return nil
}

func (c *content) makeHardLink(first, name string) error {
	want, err := c.root.Lstat(first)
	if err != nil {
		return explain("look at", c.abs(first), err)
	}
	st, err := c.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c.link(first, name)
	case err != nil:
		return explain("look at", c.abs(name), err)
	case os.SameFile(st, want):
		return nil
	case st.IsDir():
		if err := c.purge(name); err != nil {
			return err
		}
	}
	tmp := tmpDir + "/" + tempName("link")
	if err := c.s.fs.link(c.at+first, tmp); err != nil {
		return err
	}
	if err := c.s.fs.rename(tmp, c.at+name); err != nil {
		_ = c.s.fs.removeIfThere(tmp)
		return err
	}
	return nil
}

// noteInode remembers a file that has several names and is as it should be.
func (c *content) noteInode(ino uint64, i int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inodes[ino] = append(c.inodes[ino], i)
}

// partFiles gives each file that shares its inode with another one of the release,
// which are no hard links by the manifest, an inode of its own. Reuse sees to it
// that there are none; but what it knows ends with the process, and releases of
// other versions have them.
func (c *content) partFiles(context.Context) error {
	for _, list := range c.inodes {
		if len(list) < 2 {
			continue
		}
		keep := list[0]
		for _, i := range list {
			keep = min(keep, i)
		}
		for _, i := range list {
			if i == keep {
				continue
			}
			if err := c.unshare(c.m.ContentPath(c.m.Files[i].Path)); err != nil {
				return err
			}
			if c.state[i] = fileDurable; c.linked != nil {
				c.linked[i] = 0
			}
		}
	}
	return nil
}
