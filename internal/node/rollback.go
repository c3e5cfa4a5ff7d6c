package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/manifest"
	"distd/internal/publish"
	"distd/internal/store"
)

// A rollback for all nodes is a publish: the master makes the content of an
// earlier release its newest one. A local one switches a single node back, and
// holds until that node's next release.

// notMaster says where a rollback is done.
func notMaster(what string) error {
	return &codedError{ExUsage, fmt.Errorf("%s: a rollback for all nodes is done on the master's folder; -local makes the previous release live on this node only, until its next release", what)}
}

// Rollback publishes the content of an earlier release again on a running
// master: that of the serial to, or of the release before when it is 0. With dry
// it only says what it would do.
func (n *Node) Rollback(ctx context.Context, channel string, to uint64, dry bool) (*publish.RolledBack, error) {
	if n.role != config.RoleMaster {
		return nil, notMaster("this node is a " + n.role)
	}
	o, err := PublishOptions(n.cfg.Load(), PublishRequest{Channel: channel})
	if err != nil {
		return nil, err
	}
	o.Log = n.log.Named("publish")
	var note string
	undo := func() error { return nil }
	if !dry { // before the lock, which a release from the folder may have or wait for
		if note, undo, err = n.hold(channel); err != nil {
			return nil, err
		}
	}
	n.publishMu.Lock()
	defer n.publishMu.Unlock()
	res, err := publish.Rollback(ctx, n.store, n.signing, channel, to, dry, o)
	if err != nil {
		return nil, errors.Join(err, undo())
	}
	if dry {
		return res, nil
	}
	res.Note = note
	n.log.Warn("rolled back by the operator", zap.String("channel", channel), zap.Uint64("from", res.From), zap.Uint64("to", res.To), zap.Uint64("serial", res.Serial))
	n.published(ctx, channel, res.ID)
	return res, nil
}

// RollbackAlone is Rollback in a master's folder on which no master runs.
func RollbackAlone(ctx context.Context, dir, channel string, to uint64, dry bool) (res *publish.RolledBack, err error) {
	o, err := PublishOptions(nil, PublishRequest{Channel: channel})
	if err != nil {
		return nil, err
	}
	st, err := OpenExisting(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	key, err := manifest.LoadPrivateKey(filepath.Join(st.Dir(), ".distd", "keys", "publish.key"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notMaster(st.Dir() + " has no key to sign a release with")
	}
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	if res, err = publish.Rollback(ctx, st, key, channel, to, dry, o); err == nil && !dry {
		if res.Note, err = holdAlone(st.Dir(), channel); err != nil {
			err = fmt.Errorf("rolled back to the content of %d as release %d, but the channel's watch could not be paused: %w", res.To, res.Serial, err)
		}
		if note := strangerNote(st.Dir(), os.Geteuid()); note != "" {
			res.Note = strings.TrimPrefix(res.Note+"\nnote: "+note, "\nnote: ")
		}
	}
	return res, err
}

// rollbackLocal makes the channel's previous release live on this node.
func (n *Node) rollbackLocal(ctx context.Context, channel string) (*store.Activation, error) {
	if n.role == config.RoleMaster {
		return nil, &codedError{ExUsage, errors.New("a master makes no release live: leave -local out to roll back all nodes")}
	}
	lock := n.releases.lock(channel)
	lock.Lock()
	defer lock.Unlock()
	act, err := n.store.Rollback(ctx, channel)
	if err != nil {
		return nil, explainRollback(n.store, channel, err)
	}
	n.log.Warn("rolled back by the operator, this node only", zap.String("channel", channel), zap.Uint64("serial", act.Serial), zap.String("live", act.ID))
	return act, nil
}

// RollbackLocalAlone makes the channel's previous release live in a folder on
// which no daemon runs.
func RollbackLocalAlone(ctx context.Context, dir, channel string) (*store.Activation, error) {
	st, err := OpenExisting(dir)
	if err != nil {
		return nil, err
	}
	act, err := st.Rollback(ctx, channel)
	if err != nil {
		err = explainRollback(st, channel, err)
	}
	return act, errors.Join(err, st.Close())
}

// explainRollback names the channels where there is nothing to go back to.
func explainRollback(st *store.Store, channel string, err error) error {
	if channels := st.Channels(); errors.Is(err, store.ErrNoPrevious) && !slices.Contains(channels, channel) {
		return fmt.Errorf("%w, nor any of that channel here (channels: %s)", err, strings.Join(channels, ", "))
	}
	return err
}

func (n *Node) controlRollback(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	channel := q.Get("channel")
	var res any
	var err error
	if q.Has("local") {
		res, err = n.rollbackLocal(r.Context(), channel)
	} else {
		var to uint64
		if text := q.Get("to"); text != "" {
			to, err = strconv.ParseUint(text, 10, 64)
		}
		if err == nil {
			res, err = n.Rollback(r.Context(), channel, to, q.Has("dry"))
		}
	}
	if err != nil {
		refuse(w, err)
		return
	}
	reply(w, res)
}

// Rollback has a master publish the content of an earlier release again.
func (c *Control) Rollback(ctx context.Context, channel string, to uint64, dry bool) (*publish.RolledBack, error) {
	q := url.Values{"channel": {channel}, "to": {strconv.FormatUint(to, 10)}}
	if dry {
		q.Set("dry", "1")
	}
	res := new(publish.RolledBack)
	return res, c.call(ctx, http.MethodPost, "/v1/rollback?"+q.Encode(), nil, func(d *json.Decoder) error { return d.Decode(res) })
}

// RollbackLocal makes the channel's previous release live again on this node.
func (c *Control) RollbackLocal(ctx context.Context, channel string) (*store.Activation, error) {
	a := new(store.Activation)
	q := url.Values{"channel": {channel}, "local": {"1"}}
	return a, c.call(ctx, http.MethodPost, "/v1/rollback?"+q.Encode(), nil, func(d *json.Decoder) error { return d.Decode(a) })
}
