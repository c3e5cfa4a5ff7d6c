package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"distd/internal/upstream"
	"distd/pkg/httpfetch"
)

// Follow fetches a torrent or metalink and, until ctx ends, each new version of
// it: the old one is served until the new one is whole, and stays where a new one
// cannot be had. told is called with each version that has come. The last version
// is remembered in the folder of the downloads, and its hook is not run again
// after a restart.
func Follow(ctx context.Context, o FetchOptions, told func([]FetchState)) error {
	if len(o.Inputs) != 1 {
		return &codedError{ExUsage, errors.New("follow wants one URL of a torrent or metalink")}
	}
	u, err := url.Parse(o.Inputs[0])
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return &codedError{ExUsage, fmt.Errorf("follow wants the URL of a torrent or metalink on a server, not %s", shownInput(o.Inputs[0]))}
	}
	if err := o.Hooks.check(); err != nil {
		return err
	}
	o.Overwrite = true // a version takes the place of the one before
	o.follows = true
	web, err := newWeb(o)
	if err != nil {
		return err
	}
	f, err := newFetch(o, web, hints{})
	if err != nil {
		return err
	}
	defer f.limits.stop()
	l := &fetchFollower{fetch: f, url: o.Inputs[0], base: u.Scheme + "://" + u.Host, told: told, log: o.Log.Named("follow"),
		news: make(chan struct{}, 1), ended: make(chan *fetchVersion)}
	sum := sha256.Sum256([]byte(l.url))
	l.file = filepath.Join(o.Dir, stagingFolder, "follow-"+hex.EncodeToString(sum[:8])+".json")
	return l.run(ctx)
}

// fetchFollower is one call of Follow. Its loop owns all that is not said to be
// another's.
type fetchFollower struct {
	fetch *fetch
	url   string
	base  string // of the server
	file  string // where the last version is remembered
	told  func([]FetchState)
	log   *zap.Logger
	news  chan struct{}      // something may have changed
	ended chan *fetchVersion // came to be whole, or failed

	last    followed      // the version that is whole
	live    *fetchVersion // seeds it
	coming  *fetchVersion // is fetched; nil: none
	problem string        // what was said last of the server
}

// followed is a version that was fetched.
type followed struct {
	URL          string `json:"url"`
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
	Document     []byte `json:"document"`
}

// run looks for versions until ctx ends.
func (l *fetchFollower) run(ctx context.Context) error {
	var work errgroup.Group
	workCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	work.Go(func() error { return ignoreCancel(l.fetch.engine.Run(workCtx)) })
	l.fetch.runFinders(workCtx, &work)
	listenCtx, stopListening := context.WithCancel(ctx)
	work.Go(func() error { l.listen(listenCtx); return nil })
	defer func() {
		stopListening()
		l.coming.stop()
		l.live.stop()
		stop()
		_ = work.Wait()
	}()
	if err := l.remember(); err != nil {
		return err
	}
	if l.last.Document != nil {
		l.begin(ctx, l.last, true)
	}
	l.look(ctx)
	for {
		d := l.fetch.o.Interval
		timer := time.NewTimer(d - d/10 + rand.N(d/5+1)) // so that a farm's nodes do not ask at one moment
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case v := <-l.ended:
			l.over(v)
		case <-l.news:
			l.look(ctx)
		case <-timer.C:
			l.look(ctx)
		}
		timer.Stop()
	}
}

// remember reads what was fetched before.
func (l *fetchFollower) remember() error {
	b, err := os.ReadFile(l.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, &l.last); err != nil || l.last.URL != l.url {
		l.log.Warn("what was remembered of the last version is of no use; it is fetched again where needed", zap.String("file", l.file))
		l.last = followed{}
	}
	return nil
}

// look asks the server whether there is a new version, and begins with it.
func (l *fetchFollower) look(ctx context.Context) {
	old := httpfetch.Info{ETag: l.last.ETag, LastModified: l.last.LastModified}
	var b bytes.Buffer
	info, changed, err := httpfetch.GetChanged(ctx, l.fetch.web.mirrors, l.url, old, &b, maxTorrent)
	if ctx.Err() != nil {
		return
	}
	l.say(err)
	v := followed{URL: l.url, ETag: info.ETag, LastModified: info.LastModified, Document: b.Bytes()}
	same := !changed || l.last.Document != nil && bytes.Equal(v.Document, l.last.Document)
	switch {
	case err != nil, changed && l.coming != nil && bytes.Equal(v.Document, l.coming.Document):
	case same && l.live == nil && l.coming == nil:
		l.begin(ctx, l.last, true) // what was remembered could not be begun with
	case same && changed && l.live != nil:
		l.drop(l.coming)
		l.coming, l.last = nil, v // other times on the same content, or it went back to it
	case !same:
		l.begin(ctx, v, false)
	}
}

// say logs what is wrong with the server when that has changed.
func (l *fetchFollower) say(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != l.problem {
		if l.problem = text; err != nil {
			l.log.Warn("cannot look for a new version; what is there stays", zap.Error(err))
		} else {
			l.log.Info("the server answers again")
		}
	}
}

// over takes note of a version that has become whole, or has failed.
func (l *fetchFollower) over(v *fetchVersion) {
	if v != l.coming {
		return // another has come meanwhile
	}
	l.coming = nil
	if !v.whole.Load() {
		v.stop()
		l.log.Error("a new version could not be fetched; it is tried again", zap.String("url", shownInput(l.url)), zap.Error(v.err()))
		return
	}
	l.live.stop()
	l.live, l.last = v, v.followed
	if l.told != nil && !v.known {
		l.told(v.states())
	}
	b, err := json.Marshal(l.last)
	if err == nil {
		if err = os.MkdirAll(filepath.Dir(l.file), 0o755); err == nil {
			err = renameio.WriteFile(l.file, b, 0o644)
		}
	}
	if err != nil {
		l.log.Warn("the version could not be remembered: after a restart its hook runs again", zap.Error(err))
	}
}

// listen makes the events of a distd's server wake up the loop. Where there are
// none it is tried again now and then, and the interval does.
func (l *fetchFollower) listen(ctx context.Context) {
	way := l.fetch.web.outward
	c, err := upstream.New(l.base, upstream.Options{TLS: way.TLS(), Proxy: way.Proxy, Auth: way.Userinfo,
		RetryMax: 10 * time.Minute, UserAgent: "distd/" + l.fetch.o.Version})
	if err != nil {
		return
	}
	_ = c.Watch(ctx, nil, func(string) {
		select {
		case l.news <- struct{}{}:
		default:
		}
	})
}
