package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"go.uber.org/zap"

	"distd/internal/bucket"
	"distd/internal/manifest"
	"distd/internal/publish"
	"distd/internal/store"
)

// BucketRequest is where `distd publish -to` puts a release besides the folder.
type BucketRequest struct {
	To string // s3://BUCKET/PREFIX, with parameters
	// PublicURL is the address under which the bucket is read, for torrents and
	// metalinks; "" leaves them as the folder has them.
	PublicURL string
	Keep      int // releases that stay in the bucket; 0: all
	Version   string
	Log       *zap.Logger
}

// BucketResult is what was published, in the folder and in the bucket.
type BucketResult struct {
	*publish.Result
	Bucket *bucket.Result `json:"bucket"`
}

// PublishFunc publishes in a node's folder.
type PublishFunc func(ctx context.Context, req PublishRequest) (*publish.Result, error)

// PublishToBucket publishes by local in the folder dir, and then puts the
// release into a bucket. The bucket is looked at before anything else: what
// another key has signed is refused, and the serial follows that of the bucket.
func PublishToBucket(ctx context.Context, dir string, req PublishRequest, to BucketRequest, local PublishFunc, progress func(done, total int64)) (*BucketResult, error) {
	addr, err := bucket.ParseAddress(to.To)
	if err != nil {
		return nil, coded(ExUsage, err)
	}
	base := strings.TrimRight(to.PublicURL, "/")
	if base != "" {
		if err := manifest.CheckURL(base); err != nil {
			return nil, coded(ExUsage, fmt.Errorf("public URL %q: %w", base, err))
		}
	}
	objects, err := bucket.Connect(ctx, addr, to.Version)
	if err != nil {
		return nil, coded(ExConfig, err)
	}
	ch, err := lookAtBucket(ctx, objects, addr, dir, req, to.Log)
	if err != nil {
		return nil, err
	}
	req.After = ch.Pointer()
	res, err := local(ctx, req)
	if err != nil {
		return nil, err
	}
	key, err := publisherKey(dir, req.KeyFile)
	if err != nil {
		return nil, err
	}
	rel, err := bucket.OpenRelease(dir, req.Channel, res.ID, key, base)
	if err != nil {
		return nil, err
	}
	put, err := ch.Publish(ctx, rel, bucket.Options{Keep: to.Keep, Progress: progress})
	if err != nil {
		return nil, fmt.Errorf("%w; the release is in %s, and publishing again goes on from here", err, dir)
	}
	if res.Magnet = rel.Magnet; put.ID != rel.ID {
		res.Magnet = "" // that of another release, whose torrent is not here
	}
	res.Unchanged, res.ID, res.Serial = put.Unchanged, put.ID, put.Serial
	res.Notes = append(res.Notes, put.Notes...)
	if note := pruneAlone(ctx, dir, to.Keep); note != "" {
		res.Notes = append(res.Notes, note)
	}
	return &BucketResult{Result: res, Bucket: put}, nil
}

// lookAtBucket verifies what the bucket has of the channel with the publisher's
// key. A publisher that has no key yet may begin in an empty one only.
func lookAtBucket(ctx context.Context, objects bucket.Objects, addr *bucket.Address, dir string, req PublishRequest, log *zap.Logger) (*bucket.Channel, error) {
	key, err := publisherKey(dir, req.KeyFile)
	fresh := errors.Is(err, fs.ErrNotExist) && req.KeyFile == ""
	if err != nil && !fresh {
		return nil, err
	}
	ch, err := bucket.Look(ctx, objects, addr.Prefix, req.Channel, key, log)
	if err != nil && fresh && errors.Is(err, manifest.ErrKey) {
		err = fmt.Errorf("%w; %s has no key yet: give the publisher's folder with -dir, or its secret key with -key-file", err, dir)
	}
	return ch, err
}

// publisherKey is the public key of who publishes: that of the key file, or
// that of the folder.
func publisherKey(dir, keyFile string) (manifest.PublicKey, error) {
	if keyFile == "" {
		return manifest.LoadPublicKey(filepath.Join(dir, ".distd", "keys", "publish.pub"))
	}
	k, err := manifest.LoadPrivateKey(keyFile)
	if err != nil {
		return manifest.PublicKey{}, fmt.Errorf("signing key: %w", err)
	}
	return k.Public(), nil
}

// aloneKey is the key of the file, or that of the folder, which is made when
// there is none.
func aloneKey(st *store.Store, file string) (key manifest.PrivateKey, created bool, err error) {
	if file == "" {
		return LoadMasterKey(st)
	}
	if key, err = manifest.LoadPrivateKey(file); err != nil {
		err = fmt.Errorf("signing key: %w", err)
	}
	return key, false, err
}

// pruneAlone removes old releases from a folder on which no master runs, since
// nobody else does. It returns a note when that fails.
func pruneAlone(ctx context.Context, dir string, keep int) string {
	if keep <= 0 {
		return ""
	}
	st, err := OpenExisting(dir)
	if errors.Is(err, store.ErrLocked) {
		return "" // the master does it
	}
	if err == nil {
		_, err = st.Prune(ctx, keep, nil)
		err = errors.Join(err, st.Close())
	}
	if err != nil {
		return fmt.Sprintf("old releases could not be removed from %s: %v", dir, err)
	}
	return ""
}
