package upstream

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"

	"go.uber.org/zap"

	"distd/internal/manifest"
	"distd/internal/shrink"
)

// Base is a release that the caller has: of newer ones only the difference is
// asked for, where the upstream can tell it.
type Base struct {
	ID string
	// Manifest and Info are its manifest and the info dictionary of its torrent.
	Manifest, Info []byte
}

// Traffic counts, in bytes of the answers, in which form documents came. Clients
// may share one.
type Traffic struct {
	Difference, Packed, Plain atomic.Int64
	// Pack are delta packs that came with the documents.
	Pack atomic.Int64
	// Refused is the number of answers that were not what had been asked for.
	Refused atomic.Int64
}

// leastShort is the size of a base's document, in bytes, from which on a short
// form of the next one is worth asking for.
const leastShort = 8 << 10

var errOther = errors.New("it is not the document that was asked for")

// short asks for a document in its short forms, the shortest first, and returns
// the first that is good. Where there is none the error wraps fs.ErrNotExist.
func (c *Client) short(ctx context.Context, id, doc, base string, dict []byte, limit int64, good func([]byte) bool) ([]byte, error) {
	missing := fmt.Errorf("%s of release %s: no short form: %w", doc, id, fs.ErrNotExist)
	if base != "" && len(dict) < leastShort {
		return nil, missing
	}
	if base != "" && base != id {
		if b, err := c.shortForm(ctx, id, doc, base, dict, limit, good, &c.traffic.Difference); err == nil || ctx.Err() != nil {
			return b, err
		}
	}
	b, err := c.shortForm(ctx, id, doc, "", nil, limit, good, &c.traffic.Packed)
	if err != nil && ctx.Err() == nil {
		return nil, missing
	}
	return b, err
}

func (c *Client) shortForm(ctx context.Context, id, doc, base string, dict []byte, limit int64, good func([]byte) bool, count *atomic.Int64) ([]byte, error) {
	file := manifest.ShortName(doc, base)
	packed, err := c.Meta(ctx, id, file, shrink.MaxPacked(limit))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.log.Debug("cannot have a short form of a document", zap.String("file", file), zap.Error(err))
		}
		return nil, err
	}
	b, err := shrink.Unpack(packed, dict, limit)
	if err == nil && !good(b) {
		err = errOther
	}
	if err != nil {
		c.traffic.Refused.Add(1)
		c.log.Warn("a short form of a document is not good; a longer one is asked for", zap.String("release", id), zap.String("file", file), zap.Error(err))
		return nil, err
	}
	count.Add(int64(len(packed)))
	if c.opts.Short != nil {
		c.opts.Short(id, doc, base, packed)
	}
	return b, nil
}

// Info returns the info dictionary, of at most limit bytes, of a release's
// torrent by its infohash (40 hex digits). base may be nil. The error wraps
// fs.ErrNotExist where the upstream has it in the torrent only.
func (c *Client) Info(ctx context.Context, id, infoHash string, base *Base, limit int64) ([]byte, error) {
	good := func(b []byte) bool {
		sum := sha1.Sum(b)
		return hex.EncodeToString(sum[:]) == infoHash
	}
	if base == nil {
		base = &Base{}
	}
	return c.short(ctx, id, manifest.InfoDocument, base.ID, base.Info, limit, good)
}

// Pack returns the delta pack of a release for a base, unverified, if it has at
// most limit bytes. A larger one is not transferred: ErrTooLarge.
func (c *Client) Pack(ctx context.Context, id, base string, limit int64) ([]byte, error) {
	if !manifest.ValidID(id) || !manifest.ValidID(base) || limit <= 0 {
		return nil, fmt.Errorf("ask upstream: no delta pack of release %.80q for %.80q with %d bytes", id, base, limit)
	}
	u, err := c.base.Parse(c.MetaURL(id, "delta/"+base))
	if err != nil {
		return nil, fmt.Errorf("ask upstream: %w", err)
	}
	a, err := c.ask(ctx, u, question{limit: limit, all: true})
	if err != nil {
		return nil, err
	}
	c.traffic.Pack.Add(int64(len(a.body)))
	return a.body, nil
}
