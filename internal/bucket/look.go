package bucket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"go.uber.org/zap"

	"distd/internal/manifest"
	"distd/internal/names"
)

// Names of the tree.
const (
	keyName      = "publish.pub"
	pointerName  = "latest.json"
	manifestName = "manifest.json"
	sigSuffix    = ".minisig"
)

// maxKey bounds a public key file, in bytes.
const maxKey = 4 << 10

// Channel is a channel of a bucket, as it was when it was looked at.
type Channel struct {
	objects Objects
	prefix  string // "" or with a slash behind
	name    string
	log     *zap.Logger
	tries   uint64 // of each request

	// key is that of the bucket's publisher; the zero value when the bucket
	// has neither key nor release.
	key    manifest.PublicKey
	hasKey bool     // publish.pub is there
	now    *pointer // nil: there is no release yet
	// oldSig and sigTag are the signature beside the pointer and its ETag.
	oldSig []byte
	sigTag string

	notes []string
}

// pointer is a latest.json that was verified.
type pointer struct {
	*manifest.Pointer
	data []byte
	etag string
	// torn says that the signature beside it is not its own: a publisher ended
	// between the writing of the two.
	torn bool
}

// Look reads and verifies what the bucket has of a channel, below prefix. What
// was not signed with key is refused with an error that wraps
// manifest.ErrSignature or manifest.ErrKey; with the zero key everything is.
func Look(ctx context.Context, o Objects, prefix, channel string, key manifest.PublicKey, log *zap.Logger) (*Channel, error) {
	if err := names.Channel(channel); err != nil {
		return nil, err
	}
	if log == nil {
		log = zap.NewNop()
	}
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	c := &Channel{objects: o, prefix: prefix, name: channel, log: log, tries: lookTries}
	if err := c.lookAtKey(ctx, key); err != nil {
		return nil, fmt.Errorf("bucket: %w", err)
	}
	if err := c.lookAtPointer(ctx, key); err != nil {
		return nil, fmt.Errorf("bucket: channel %s: %w", channel, err)
	}
	c.tries = tries
	return c, nil
}

// Pointer returns the channel's newest release in the bucket, nil when there is
// none.
func (c *Channel) Pointer() *manifest.Pointer {
	if c.now == nil {
		return nil
	}
	p := *c.now.Pointer
	return &p
}

// at is the key of a path of the tree.
func (c *Channel) at(path string) string { return c.prefix + path }

func (c *Channel) pointerKey() string { return c.at("channels/" + c.name + "/" + pointerName) }

// release is the key of a file of a release.
func (c *Channel) release(id, file string) string { return c.at("releases/" + id + "/" + file) }

// get reads an object; what is nil is not there.
func (c *Channel) get(ctx context.Context, key string, limit int64) (data []byte, o Object, err error) {
	err = c.request(ctx, "read", key, func(ctx context.Context, _ func()) (err error) {
		data, o, err = c.objects.Get(ctx, key, limit)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, Object{}, nil
	}
	if err == nil && data == nil {
		data = []byte{}
	}
	return data, o, err
}

func (c *Channel) lookAtKey(ctx context.Context, key manifest.PublicKey) error {
	b, _, err := c.get(ctx, c.at(keyName), maxKey)
	if err != nil || b == nil {
		return err
	}
	there, err := manifest.ParsePublicKey(string(b))
	if err != nil {
		return fmt.Errorf("%s: %w", keyName, err)
	}
	if there.String() != key.String() {
		return fmt.Errorf("its releases are %w: %s", manifest.ErrKey, there)
	}
	c.key, c.hasKey = there, true
	return nil
}

func (c *Channel) lookAtPointer(ctx context.Context, key manifest.PublicKey) error {
	data, o, err := c.get(ctx, c.pointerKey(), manifest.MaxPointer)
	if err != nil {
		return err
	}
	sig, so, err := c.get(ctx, c.pointerKey()+sigSuffix, manifest.MaxSignature)
	if err != nil {
		return err
	}
	c.oldSig, c.sigTag = sig, so.ETag
	if data == nil {
		return nil
	}
	if key.String() == "" {
		return fmt.Errorf("its releases are %w", manifest.ErrKey)
	}
	now := &pointer{data: data, etag: o.ETag}
	now.Pointer, err = manifest.OpenPointer(key, data, sig)
	if errors.Is(err, manifest.ErrSignature) {
		// A publisher may have ended after it wrote the next signature and before
		// the pointer that goes with it. The manifest is signed too.
		if p, merr := c.pointerByManifest(ctx, key, data); merr == nil {
			now.Pointer, now.torn, err = p, true, nil
		}
	}
	if err != nil {
		return err
	}
	if now.Channel != c.name {
		return fmt.Errorf("its pointer is signed for channel %s", now.Channel)
	}
	c.key, c.now = key, now
	return nil
}

// pointerByManifest verifies a pointer by the manifest that it points at: there
// is nothing in it that is not in the manifest too.
func (c *Channel) pointerByManifest(ctx context.Context, key manifest.PublicKey, data []byte) (*manifest.Pointer, error) {
	claim := new(manifest.Pointer)
	if err := json.Unmarshal(data, claim); err != nil {
		return nil, err
	}
	if !manifest.ValidID(claim.Manifest) {
		return nil, fmt.Errorf("%w: its release has no valid ID", manifest.ErrMalformed)
	}
	m, err := c.manifest(ctx, key, claim.Manifest)
	if err != nil {
		return nil, err
	}
	p := m.Pointer(claim.Manifest)
	if same, err := p.Encode(); err != nil || string(same) != string(data) {
		return nil, errors.Join(fmt.Errorf("%w: it is not that of its manifest", manifest.ErrMalformed), err)
	}
	return p, nil
}

// manifest reads and verifies a release's manifest.
func (c *Channel) manifest(ctx context.Context, key manifest.PublicKey, id string) (*manifest.Manifest, error) {
	data, _, err := c.get(ctx, c.release(id, manifestName), manifest.MaxManifest)
	if err != nil {
		return nil, err
	}
	sig, _, err := c.get(ctx, c.release(id, manifestName+sigSuffix), manifest.MaxSignature)
	if err != nil {
		return nil, err
	}
	m, got, err := manifest.Open(key, data, sig)
	if err != nil {
		return nil, fmt.Errorf("release %s: %w", id, err)
	}
	if got != id {
		return nil, fmt.Errorf("release %s: %w: its manifest is that of %s", id, manifest.ErrMalformed, got)
	}
	return m, nil
}
