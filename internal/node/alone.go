package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"go.uber.org/zap"

	"distd/internal/manifest"
	"distd/internal/publish"
	"distd/internal/store"
)

// PublishAlone publishes in a folder on which no master runs.
func PublishAlone(ctx context.Context, dir string, req PublishRequest, progress func(done, total int64)) (res *publish.Result, err error) {
	o, err := PublishOptions(nil, req)
	if err != nil {
		return nil, err
	}
	o.Progress = progress
	st, err := openStore(dir, zap.NewNop())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	key, created, err := aloneKey(st, req.KeyFile)
	if err != nil {
		return nil, err
	}
	if res, err = publishNow(ctx, st, key, o); err != nil {
		return nil, err
	}
	if created {
		res.Notes = append(res.Notes, fmt.Sprintf("there was no key in %s, so a new pair was made; its public key is %s", st.Dir(), key.Public()))
	}
	if note := strangerNote(st.Dir(), os.Geteuid()); note != "" && (created || !res.Unchanged) {
		res.Notes = append(res.Notes, note)
	}
	return res, nil
}

// LoadMasterKey returns the signing key of a master's folder, which it makes
// when there is none.
func LoadMasterKey(st *store.Store) (manifest.PrivateKey, bool, error) {
	keys := filepath.Join(st.Dir(), controlDir, "keys")
	if _, err := os.Stat(filepath.Join(keys, "publish.key")); errors.Is(err, fs.ErrNotExist) {
		if err := follows(st); err != nil {
			return manifest.PrivateKey{}, false, err
		}
	}
	key, created, err := manifest.LoadOrCreateKey(filepath.Join(keys, "publish.key"), filepath.Join(keys, "publish.pub"))
	if err != nil {
		return key, false, fmt.Errorf("signing key: %w", err)
	}
	return key, created, nil
}

// follows is an error where the folder is a seed's or leaf's. What is published
// there with a key of its own would take a serial of the publisher's, and be live
// on this node in place of the publisher's release.
func follows(st *store.Store) error {
	for _, channel := range st.Channels() {
		_, live := st.Live(channel)
		if _, pinned := st.PinnedKey(channel); live || pinned {
			return &codedError{ExUsage, fmt.Errorf("%s is the folder of a seed or leaf, which follows channel %s and has no key to sign with: publish in the master's folder (-dir); "+
				"to make a master of this one, put the publisher's keys into %s", st.Dir(), channel, filepath.Join(st.Dir(), controlDir, "keys"))}
		}
	}
	return nil
}

// strangerNote says what to do when uid has written into a folder of another user,
// as root does who publishes while the master of the user distd is down: that
// master can then neither read the key nor remove the release. It returns "" where
// all is one user's.
func strangerNote(dir string, uid int) string {
	for _, p := range []string{filepath.Join(dir, controlDir), dir} {
		st, err := os.Stat(p)
		if err != nil {
			continue
		}
		if sys, ok := st.Sys().(*syscall.Stat_t); ok && int(sys.Uid) != uid {
			return fmt.Sprintf("%s belongs to uid %d, and what was just written to uid %d: a master that runs as uid %d cannot work with it. "+
				"Give it back with chown -R --reference=%s %s, and publish as that user or while the master runs", p, sys.Uid, uid, sys.Uid, p, filepath.Join(dir, controlDir))
		}
	}
	return ""
}
