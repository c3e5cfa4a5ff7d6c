package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"go.uber.org/zap"

	"distd/internal/publish"
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
