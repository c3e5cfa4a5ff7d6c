package node

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"distd/internal/hook"
)

// hookTimeout is how long a hook may run.
const hookTimeout = time.Hour

// check looks whether the programs can be run, before anything is fetched.
func (h *FetchHooks) check() error {
	for _, cmd := range []string{h.Start, h.Whole, h.Complete, h.Error, h.Stop} {
		if cmd == "" {
			continue
		}
		if err := hook.Check(cmd); err != nil {
			return &codedError{ExNoInput, err}
		}
	}
	return nil
}

// whole is the program to run when the content is there.
func (h *FetchHooks) whole(t *target) string {
	if t.torrent == nil && h.Complete != "" {
		return "" // it runs in a moment
	}
	return h.Whole
}

// ended is the program to run when a download is over.
func (h *FetchHooks) ended(err error) string {
	switch {
	case err != nil && h.Error != "":
		return h.Error
	case err == nil && h.Complete != "":
		return h.Complete
	}
	return h.Stop
}

// hook runs one of the operator's programs with aria2's arguments. One that
// fails is an error.
func (d *download) hook(ctx context.Context, command string) error {
	if command == "" {
		return nil
	}
	o := d.fetch.o
	n, first := d.target.hookFiles()
	if first != "" {
		first = filepath.Join(o.Dir, filepath.FromSlash(first))
	}
	res, err := hook.Run(ctx, hook.Job{Command: command, GID: hook.GID(d.target.key), NumFiles: n, FirstPath: first,
		Timeout: hookTimeout, Log: d.log.Named("hook"), Output: o.HookOutput})
	if err != nil {
		return fmt.Errorf("hook: %w", err)
	}
	if res.Code != 0 {
		return fmt.Errorf("hook %s ended with exit code %d", command, res.Code)
	}
	return nil
}

// hookFiles are the arguments of a hook: how many files there are, and the first
// of them below the folder of the downloads. Of what was never found out there
// are none.
func (t *target) hookFiles() (n int, first string) {
	if t.layout == nil {
		return 0, ""
	}
	if t.selected != nil {
		return t.selected.count, t.selected.first
	}
	return len(t.layout.Files), t.layout.Files[0].Path
}

// after runs the program for the end of a download. What it says of a failed
// download changes nothing any more.
func (d *download) after(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err // the operator has ended it
	}
	herr := d.hook(ctx, d.fetch.o.Hooks.ended(err))
	if err != nil && herr != nil {
		d.log.Warn("the hook for a failed download has failed too", zap.Error(herr))
		return err
	}
	if herr != nil {
		return herr
	}
	return err
}
