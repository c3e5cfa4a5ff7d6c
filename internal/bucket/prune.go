package bucket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"distd/internal/manifest"
)

// abandoned is how old the parts of an unfinished object must be to be taken
// for those of a publisher that is no more.
const abandoned = 24 * time.Hour

// kept is a release of the channel in the bucket.
type kept struct {
	id       string
	serial   uint64
	finished bool // all of it was there once
}

// prune removes releases of the channel beyond the newest keep, but never the
// live one and the one before it; 0 keeps all. Parts that a publisher left
// behind go too. It returns the IDs of what was removed.
func (c *Channel) prune(ctx context.Context, live *manifest.Pointer, keep int) ([]string, error) {
	err := c.removeParts(ctx)
	if keep <= 0 {
		return nil, err
	}
	all, lerr := c.releases(ctx)
	if lerr != nil {
		return nil, errors.Join(err, lerr)
	}
	var removed []string
	for _, id := range expendable(all, live, keep) {
		if rerr := c.remove(ctx, id); rerr != nil {
			return removed, errors.Join(err, rerr)
		}
		removed = append(removed, id)
	}
	return removed, err
}

// expendable chooses, of a channel's releases, those that need not stay.
func expendable(all []kept, live *manifest.Pointer, keep int) []string {
	slices.SortFunc(all, func(a, b kept) int {
		switch {
		case a.serial > b.serial:
			return -1
		case a.serial < b.serial:
			return 1
		}
		return strings.Compare(a.id, b.id)
	})
	var out []string
	n := 1 // the live one
	for _, r := range all {
		switch {
		case r.id == live.Manifest, r.serial > live.Serial:
			// The latter is on its way from another publisher.
		case !r.finished, r.serial == live.Serial:
			out = append(out, r.id)
		case n < max(keep, 2): // with the previous one
			n++
		default:
			out = append(out, r.id)
		}
	}
	return out
}

// releases lists those of the channel, by what their manifests were marked with
// when they were written: others are not this program's to remove.
func (c *Channel) releases(ctx context.Context) ([]kept, error) {
	list, err := c.list(ctx, c.at("releases/"), true)
	if err != nil {
		return nil, err
	}
	var out []kept
	for _, o := range list {
		id := path.Base(o.Key)
		if !manifest.ValidID(id) || !strings.HasSuffix(o.Key, "/") {
			continue
		}
		m, err := c.stat(ctx, c.release(id, manifestName))
		if err != nil {
			return nil, err
		}
		serial, serr := strconv.ParseUint(m.Meta[metaSerial], 10, 64)
		if m.Meta[metaChannel] != c.name || serr != nil {
			continue
		}
		sig, err := c.stat(ctx, c.release(id, manifestName+sigSuffix))
		if err != nil {
			return nil, err
		}
		out = append(out, kept{id: id, serial: serial, finished: sig.Key != ""})
	}
	return out, nil
}

// stat returns the zero Object for what is not there.
func (c *Channel) stat(ctx context.Context, key string) (o Object, err error) {
	err = c.request(ctx, "look at", key, func(ctx context.Context, _ func()) (err error) {
		o, err = c.objects.Stat(ctx, key)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return Object{}, nil
	}
	return o, err
}

func (c *Channel) list(ctx context.Context, prefix string, flat bool) (out []Object, err error) {
	err = c.request(ctx, "list", prefix, func(ctx context.Context, _ func()) (err error) {
		out, err = c.objects.List(ctx, prefix, flat)
		return err
	})
	return out, err
}

// remove removes a release. Its manifest is last: by it the rest is found again
// when this is interrupted.
func (c *Channel) remove(ctx context.Context, id string) error {
	last := c.release(id, manifestName)
	list, err := c.list(ctx, c.release(id, ""), false)
	if err != nil {
		return err
	}
	var keys []string
	for _, o := range list {
		if o.Key != last {
			keys = append(keys, o.Key)
		}
	}
	for _, some := range [][]string{keys, {last}} {
		if len(some) == 0 {
			continue
		}
		err := c.request(ctx, "remove", c.release(id, ""), func(ctx context.Context, _ func()) error { return c.objects.Remove(ctx, some) })
		if err != nil {
			return err
		}
	}
	return nil
}

// removeParts removes what was begun long ago and not finished. Keys that may
// write objects only are good enough for the rest.
func (c *Channel) removeParts(ctx context.Context) error {
	prefix := c.at("releases/")
	var list []Upload
	err := c.request(ctx, "list unfinished objects of", prefix, func(ctx context.Context, _ func()) (err error) {
		list, err = c.objects.Unfinished(ctx, prefix)
		return err
	})
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrUnsupported) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, u := range list {
		if time.Since(u.Begun) < abandoned {
			continue
		}
		err := c.request(ctx, "remove the parts of", u.Key, func(ctx context.Context, _ func()) error { return c.objects.Abort(ctx, u.Key, u.ID) })
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("unfinished object: %w", err)
		}
	}
	return nil
}
