package bucket

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"distd/internal/manifest"
)

// Options of a publish.
type Options struct {
	// Keep is how many releases of the channel stay in the bucket, the live and
	// the previous one in any case; 0: all.
	Keep int
	// Progress is called now and then with the bytes that are in the bucket,
	// from one goroutine at a time.
	Progress func(done, total int64)
}

// Result says what was done.
type Result struct {
	// Unchanged says that the bucket's newest release has this content already.
	Unchanged bool `json:"unchanged"`
	// ID and Serial are those of the bucket's newest release.
	ID     string `json:"id"`
	Serial uint64 `json:"serial"`
	// Objects and Bytes count what was sent; what the bucket had is not sent
	// again.
	Objects int64    `json:"objects"`
	Bytes   int64    `json:"bytes"`
	Removed []string `json:"removed,omitempty"` // IDs of old releases
	// Notes are what went wrong without holding up the release.
	Notes []string `json:"notes,omitempty"`
}

// note keeps a note for the result, once.
func (c *Channel) note(text string) {
	if !slices.Contains(c.notes, text) {
		c.notes = append(c.notes, text)
	}
}

// Publish makes the release the channel's newest in the bucket: first the
// objects that never change, then the signature and latest.json, last what is
// there for stock clients. When it fails or ctx ends before, latest.json is as
// it was, and the next call sends only what is missing. Errors wrap ErrConflict
// when another publisher was faster, ErrSerial when the bucket is further.
func (c *Channel) Publish(ctx context.Context, r *Release, o Options) (*Result, error) {
	res, err := c.publish(ctx, r, o)
	if err != nil {
		return nil, fmt.Errorf("bucket: channel %s: %w", c.name, err)
	}
	res.Notes = c.notes
	return res, nil
}

func (c *Channel) publish(ctx context.Context, r *Release, o Options) (*Result, error) {
	if err := c.accept(r); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	u := newUploader(c, root, &progress{tell: o.Progress})
	same, err := c.sameContent(ctx, r)
	if err != nil {
		return nil, err
	}
	res := &Result{Unchanged: same}
	if same {
		res.ID, res.Serial = c.now.Manifest, c.now.Serial
	} else {
		if err := u.release(ctx, r); err != nil {
			return nil, err
		}
		if err := c.swap(ctx, pair{r.pointer, r.pointerSig}); err != nil {
			return nil, err
		}
		res.ID, res.Serial = r.ID, r.Manifest.Serial
	}
	// The release is live: what fails now is done by the next publish.
	if res.ID == r.ID {
		if err := u.plain(ctx, r); err != nil {
			c.note(fmt.Sprintf("torrent, magnet link and metalink under their plain names are those of an older release: %v", err))
		}
	}
	if !same {
		if res.Removed, err = c.prune(ctx, r.Manifest.Pointer(r.ID), o.Keep); err != nil {
			c.note(fmt.Sprintf("old releases could not be removed: %v", err))
		}
	}
	res.Objects, res.Bytes = u.objects.Load(), u.bytes.Load()
	return res, nil
}

// accept refuses what must not follow what the bucket has.
func (c *Channel) accept(r *Release) error {
	if r.Manifest.Channel != c.name {
		return fmt.Errorf("release %s is of channel %s", r.ID, r.Manifest.Channel)
	}
	if (c.now != nil || c.hasKey) && c.key.String() != r.key.String() {
		return fmt.Errorf("its releases are %w: %s", manifest.ErrKey, c.key)
	}
	return nil
}

// sameContent says whether the bucket's newest release is this one, or has the
// same content and may stay.
func (c *Channel) sameContent(ctx context.Context, r *Release) (bool, error) {
	switch {
	case c.now == nil:
		return false, nil
	case c.now.Manifest == r.ID:
		return !c.now.torn, nil
	case !c.now.torn:
		m, err := c.manifest(ctx, c.key, c.now.Manifest)
		if err != nil {
			return false, err
		}
		if !m.Expired(time.Now()) && m.SameContent(r.Manifest) {
			return true, nil
		}
	}
	if r.Manifest.Serial <= c.now.Serial {
		return false, fmt.Errorf("%w: serial %d follows %d", ErrSerial, r.Manifest.Serial, c.now.Serial)
	}
	return false, nil
}

// release uploads all of a release that never changes.
func (u *uploader) release(ctx context.Context, r *Release) error {
	c := u.c
	first, items, last := c.manifestItem(r), c.items(r), c.signatureItem(r)
	if err := checkKeys(items); err != nil {
		return err
	}
	list, err := c.list(ctx, c.release(r.ID, ""), false)
	if err != nil {
		return err
	}
	u.there = map[string]int64{}
	for _, o := range list {
		u.there[o.Key] = o.Size
	}
	u.total = first.size + last.size
	for _, i := range items {
		u.total += i.size
	}
	if err := u.publicKey(ctx, r); err != nil {
		return err
	}
	if err := u.one(ctx, first); err != nil {
		return err
	}
	if err := u.all(ctx, items); err != nil {
		return err
	}
	return u.one(ctx, last)
}

// publicKey writes the publisher's key, for nodes that pin the first one that
// they see.
func (u *uploader) publicKey(ctx context.Context, r *Release) error {
	c := u.c
	if c.hasKey {
		return nil
	}
	_, err := c.replace(ctx, c.at(keyName), typeText, r.key.File(), "")
	if errors.Is(err, ErrConflict) {
		err = c.lookAtKey(ctx, r.key) // another channel's publish was faster
	}
	return err
}

// plain writes torrent, magnet link and metalinks under the release's plain names, where
// they are not those of the release.
func (u *uploader) plain(ctx context.Context, r *Release) error {
	items, gone := u.c.named(r)
	u.there = map[string]int64{}
	u.progress = &progress{}
	for _, i := range items {
		u.there[i.key] = i.size // same looks
	}
	if err := u.all(ctx, items); err != nil || len(gone) == 0 {
		return err
	}
	return u.c.request(ctx, "remove", gone[0], func(ctx context.Context, _ func()) error { return u.c.objects.Remove(ctx, gone) })
}
