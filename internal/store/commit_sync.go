package store

import (
	"context"
	"errors"
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
			if closed(list[i].Mode) {
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
