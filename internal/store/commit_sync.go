package store

import (
	"context"
	"errors"
	"path"
	"slices"

	"distd/internal/manifest"
)

// syncEach syncs the files and folders that were changed, when nothing of them is to
// be changed any more: file systems put all that was changed until then into the
// first sync, and the others find little left to do.
func (c *content) syncEach(ctx context.Context, dirs [][]manifest.Dir) error {
	err := parallel(ctx, c.s.workers, len(c.toSync), func(_ context.Context, i int) error {
		return c.do(op{kind: "sync", path: c.toSync[i]}, func() error { return c.syncFile(c.toSync[i]) })
	})
	if err != nil {
		return err
	}
	for _, list := range slices.Backward(dirs) {
		err := parallel(ctx, c.s.workers, len(list), func(_ context.Context, i int) error {
			if c.closed(list[i].Path, list[i].Mode) {
				return nil
			}
			return c.syncDir(list[i].Path)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *content) syncFile(name string) error {
	f, err := c.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// findHidden finds the folders whose owner cannot open what is in them once all is
// as it should be.
func (c *content) findHidden() {
	for _, d := range c.dirs {
		if d.Mode&0o500 != 0o500 || c.hides[path.Dir(d.Path)] {
			c.hides[d.Path] = true
		}
	}
}

// closed says whether a file or folder of that mode cannot be opened by its owner
// once all is as it should be, for its mode or that of a folder above it: it is
// synced when it is given its mode.
func (c *content) closed(name string, mode uint32) bool {
	return mode&0o400 == 0 || c.hides[path.Dir(name)]
}
