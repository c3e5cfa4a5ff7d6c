package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sync/errgroup"

	"distd/internal/manifest"
	"distd/internal/names"
)

// maxKey bounds a public key file, in bytes.
const maxKey = 4 << 10

// pointer is a latest.json with its signature, as they were read last.
type pointer struct {
	etag      string
	data, sig []byte
}

// PublicKey returns the publisher's public key file. Whether it is to be
// trusted is for the caller to decide.
func (c *Client) PublicKey(ctx context.Context) ([]byte, error) {
	a, err := c.get(ctx, c.url("publish.pub"), "", maxKey)
	if err != nil {
		return nil, err
	}
	return a.body, nil
}

// tell keeps what an event has brought for the next call of Pointer.
func (c *Client) tell(channel string, ev event) {
	if len(ev.minisig) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told[channel] = pointer{data: ev.data, sig: ev.minisig}
}

// Pointer returns the channel's latest.json and its signature, neither of them
// verified: those that the last event brought, else what the upstream answers.
// What has not changed since the last call is not transferred again.
func (c *Client) Pointer(ctx context.Context, channel string) (data, sig []byte, err error) {
	if err := checkChannel(channel); err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	last := c.pointers[channel]
	told, ok := c.told[channel]
	delete(c.told, channel)
	c.mu.Unlock()
	if ok {
		return told.data, told.sig, nil
	}
	u := c.url("channels/" + channel + "/latest.json")
	a, err := c.get(ctx, u, last.etag, manifest.MaxPointer)
	if err != nil {
		return nil, nil, err
	}
	if a.notModified {
		return last.data, last.sig, nil
	}
	// Pointer and signature are two files, and a release may come between the
	// reading of the two: the pair is good when the pointer is still the same
	// after the signature was read.
	for range maxPairTries {
		sig, err := c.get(ctx, c.url("channels/"+channel+"/latest.json.minisig"), "", manifest.MaxSignature)
		if err != nil {
			return nil, nil, err
		}
		again, err := c.get(ctx, u, a.etag, manifest.MaxPointer)
		if err != nil {
			return nil, nil, err
		}
		if again.notModified || bytes.Equal(again.body, a.body) {
			c.mu.Lock()
			c.pointers[channel] = pointer{etag: a.etag, data: a.body, sig: sig.body}
			c.mu.Unlock()
			return a.body, sig.body, nil
		}
		a = again
	}
	return nil, nil, fmt.Errorf("GET %s: %w", u.Redacted(), errChanging)
}

const maxPairTries = 3

var errChanging = errors.New("it changes each time it is read")

// Forget makes the next Pointer of the channel read it anew: for a caller that
// found the pair wanting, such as one that a cache in between tore apart.
func (c *Client) Forget(channel string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pointers, channel)
	delete(c.told, channel)
}

// Manifest returns a release's manifest and its signature. The manifest is the
// one with that ID, in whatever form it came; its signature is not verified.
// base, which may be nil, is a release that the caller has.
func (c *Client) Manifest(ctx context.Context, id string, base *Base) (data, sig []byte, err error) {
	// Over a long link each question costs a round trip: both are asked at once.
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		data, err = c.manifest(ctx, id, base)
		return err
	})
	g.Go(func() (err error) {
		sig, err = c.Meta(ctx, id, manifest.ManifestDocument+".minisig", manifest.MaxSignature)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	return data, sig, nil
}

func (c *Client) manifest(ctx context.Context, id string, base *Base) ([]byte, error) {
	if base == nil {
		base = &Base{}
	}
	data, err := c.short(ctx, id, manifest.ManifestDocument, base.ID, base.Manifest, manifest.MaxManifest, func(b []byte) bool { return manifest.ID(b) == id })
	if !errors.Is(err, fs.ErrNotExist) {
		return data, err
	}
	if data, err = c.Meta(ctx, id, manifest.ManifestDocument, manifest.MaxManifest); err != nil {
		return nil, err
	}
	if got := manifest.ID(data); got != id {
		return nil, fmt.Errorf("GET %s: these are not the bytes of release %s, their digest is %s", c.url("releases/"+id+"/manifest.json").Redacted(), id, got)
	}
	c.traffic.Plain.Add(int64(len(data)))
	return data, nil
}

// Meta returns a file beside the content of a release, of at most limit bytes.
func (c *Client) Meta(ctx context.Context, id, file string, limit int64) ([]byte, error) {
	if !manifest.ValidID(id) {
		return nil, fmt.Errorf("ask upstream: release %.80q is not 64 hex digits", id)
	}
	if err := names.Element(file); err != nil {
		return nil, fmt.Errorf("ask upstream: %w", err)
	}
	u, err := c.base.Parse(c.MetaURL(id, file))
	if err != nil {
		return nil, fmt.Errorf("ask upstream: %w", err)
	}
	a, err := c.get(ctx, u, "", limit)
	if err != nil {
		return nil, err
	}
	return a.body, nil
}
