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
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"distd/pkg/torrentfile"
)

// Follow fetches a torrent or metalink, or the newest release of a channel, and,
// until ctx ends, each new version of it: the old one is served until the new one is
// whole, and stays where a new one cannot be had. told is called with each version
// that has come. The last version is remembered in the folder of the downloads, and
// its hook is not run again after a restart.
func Follow(ctx context.Context, o FetchOptions, told func([]FetchState)) error {
	if len(o.Inputs) != 1 {
		return &codedError{ExUsage, errors.New("follow wants one URL of a torrent or metalink, or one link of a channel")}
	}
	from, err := originOf(o.Inputs[0])
	if err != nil {
		return err
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
	f, err := newFetch(o, web, from.hints())
	if err != nil {
		return err
	}
	defer f.limits.stop()
	l := &fetchFollower{fetch: f, url: o.Inputs[0], from: from, told: told, log: o.Log.Named("follow"),
		news: make(chan struct{}, 1), ended: make(chan *fetchVersion)}
	sum := sha256.Sum256([]byte(l.url))
	l.file = filepath.Join(o.Dir, stagingFolder, "follow-"+hex.EncodeToString(sum[:8])+".json")
	return l.run(ctx)
}

// origin is where versions come from. look is called by one goroutine.
type origin interface {
	hints() hints
	// listen calls news when there may be a new version, until ctx ends.
	listen(ctx context.Context, f *fetch, news func())
	// look finds the newest version; changed is false while there is none, or when it
	// is known to be the last one.
	look(ctx context.Context, f *fetch, last *followed) (v followed, changed bool, err error)
	// targets are what is to be fetched of a version.
	targets(ctx context.Context, f *fetch, v *followed) ([]*target, error)
}

// originOf says what an input to be followed is.
func originOf(in string) (origin, error) {
	if strings.HasPrefix(strings.ToLower(in), "magnet:") {
		link, err := torrentfile.ParseMagnet(in)
		if err != nil {
			return nil, coded(ExDataErr, err)
		}
		if !link.HasPublicKey {
			return nil, &codedError{ExUsage, errors.New("a magnet link with an infohash (xt=urn:btih) names one torrent, which never changes: leave -follow out, or give the channel's link (xs=urn:btpk)")}
		}
		return &channelOrigin{link: link, heard: map[string]heard{}, began: time.Now()}, nil
	}
	u, err := url.Parse(in)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, &codedError{ExUsage, fmt.Errorf("follow wants the URL of a torrent or metalink on a server, or a channel's magnet link, not %s", shownInput(in))}
	}
	return &urlOrigin{url: in, base: u.Scheme + "://" + u.Host}, nil
}

// fetchFollower is one call of Follow. Its loop owns all that is not said to be
// another's.
type fetchFollower struct {
	fetch *fetch
	url   string // or link
	from  origin
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

// followed is a version that was fetched. Document tells it from others: what the
// URL gave, or a channel's item.
type followed struct {
	URL          string `json:"url"`
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
	Document     []byte `json:"document"`
	// Of a channel, once it is known: what the item points at, without which it could
	// not be begun with again while nobody is there.
	Torrent []byte `json:"torrent,omitempty"`
	Bundle  []byte `json:"bundle,omitempty"`
}

// run looks for versions until ctx ends.
func (l *fetchFollower) run(ctx context.Context) error {
	var work errgroup.Group
	workCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	work.Go(func() error { return ignoreCancel(l.fetch.engine.Run(workCtx)) })
	l.fetch.runFinders(workCtx, &work)
	listenCtx, stopListening := context.WithCancel(ctx)
	work.Go(func() error { l.from.listen(listenCtx, l.fetch, l.wake); return nil })
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

// look asks whether there is a new version, and begins with it.
func (l *fetchFollower) look(ctx context.Context) {
	v, changed, err := l.from.look(ctx, l.fetch, &l.last)
	if ctx.Err() != nil {
		return
	}
	l.say(err)
	v.URL = l.url
	same := !changed || l.last.Document != nil && bytes.Equal(v.Document, l.last.Document)
	switch {
	case err != nil, changed && l.coming != nil && bytes.Equal(v.Document, l.coming.Document):
	case same && l.last.Document == nil: // there is none yet
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
			l.log.Info("looking for new versions works again")
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
	l.live, l.last = v, v.remembered()
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

// wake makes the loop look for a new version.
func (l *fetchFollower) wake() {
	select {
	case l.news <- struct{}{}:
	default:
	}
}
