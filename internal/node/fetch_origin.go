package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"distd/internal/manifest"
	"distd/internal/upstream"
	"distd/pkg/dht"
	"distd/pkg/httpfetch"
	"distd/pkg/torrentfile"
)

// urlOrigin is a torrent or metalink on a server.
type urlOrigin struct {
	url  string
	base string // of the server
}

func (u *urlOrigin) hints() hints { return hints{} }

// listen hears the events of a distd's server. Where there are none it is tried
// again now and then, and the interval does.
func (u *urlOrigin) listen(ctx context.Context, f *fetch, news func()) {
	way := f.web.outward
	c, err := upstream.New(u.base, upstream.Options{TLS: way.TLS(), Proxy: way.Proxy, Auth: way.Userinfo,
		RetryMax: 10 * time.Minute, UserAgent: "distd/" + f.o.Version})
	if err != nil {
		return
	}
	_ = c.Watch(ctx, nil, func(string) { news() })
}

func (u *urlOrigin) look(ctx context.Context, f *fetch, last *followed) (v followed, changed bool, err error) {
	old := httpfetch.Info{ETag: last.ETag, LastModified: last.LastModified}
	var b bytes.Buffer
	info, changed, err := httpfetch.GetChanged(ctx, f.web.mirrors, u.url, old, &b, maxTorrent)
	return followed{ETag: info.ETag, LastModified: info.LastModified, Document: b.Bytes()}, changed, err
}

func (u *urlOrigin) targets(ctx context.Context, f *fetch, v *followed) ([]*target, error) {
	return f.web.document(ctx, v.Document)
}

// channelOrigin is what a link's public key leads to.
type channelOrigin struct {
	link  *torrentfile.Magnet
	began time.Time

	mu    sync.Mutex
	heard map[string]heard // the newest item, by salt
}

func (c *channelOrigin) hints() hints { return hints{peers: c.link.Peers, byKey: true} }

// listen hears of items: the DHT's nodes push them to those who follow.
func (c *channelOrigin) listen(ctx context.Context, f *fetch, news func()) {
	if f.dht == nil {
		return
	}
	for _, salt := range c.link.Salts() {
		defer f.dht.Follow(c.link.PublicKey, salt, f.o.Interval, func(it dht.Item, from netip.AddrPort) {
			item, err := itemOf(c.link, it)
			if err != nil {
				f.log.Warn("the channel's item makes no sense", zap.Stringer("from", from), zap.Error(err))
				return
			}
			c.mu.Lock()
			c.heard[string(salt)] = heard{item, from}
			c.mu.Unlock()
			news()
		})()
	}
	defer f.meetFollowers(c.link)()
	<-ctx.Done()
}

// newest is the newest item that was heard: of the salt that was followed before,
// or else of the likeliest that there is.
func (c *channelOrigin) newest(last *manifest.Item) (h heard, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last != nil {
		h, ok = c.heard[last.Channel]
		return h, ok
	}
	for _, salt := range c.link.Salts() {
		if h, ok = c.heard[string(salt)]; ok {
			return h, true
		}
	}
	return h, false
}

// look refuses items that lead back: whoever holds old ones could put them into the
// DHT again.
func (c *channelOrigin) look(_ context.Context, f *fetch, last *followed) (v followed, changed bool, err error) {
	if f.dht == nil {
		return v, false, errNoDHT
	}
	var old *manifest.Item
	if last.Document != nil {
		if old, err = manifest.DecodeItem(c.link.PublicKey, last.Document); err != nil {
			return v, false, fmt.Errorf("what was remembered of the last release: %w", err)
		}
	}
	h, ok := c.newest(old)
	if !ok {
		if f.dht.Stats().LastAnswer.IsZero() && time.Since(c.began) > itemPatience {
			err = errors.New("no node of the DHT answers")
		}
		return v, false, err
	}
	v.Document = h.item.Encode()
	if old == nil {
		return v, true, nil
	}
	switch same := bytes.Equal(h.item.Value(), old.Value()); {
	case h.item.Serial < old.Serial:
		return v, false, fmt.Errorf("the DHT has serial %d, which is older than %d, which was seen already: it is refused", h.item.Serial, old.Serial)
	case h.item.Serial == old.Serial && !same:
		return v, false, fmt.Errorf("there are two releases with serial %d: torrent %x is known, %x is refused", old.Serial, old.InfoHash, h.item.InfoHash)
	case h.item.Serial == old.Serial:
		return v, false, nil
	}
	return v, true, nil
}

func (c *channelOrigin) targets(_ context.Context, f *fetch, v *followed) ([]*target, error) {
	item, err := manifest.DecodeItem(c.link.PublicKey, v.Document)
	if err != nil {
		return nil, err
	}
	l := leadOf(c.link, item)
	t := channelTarget(c.link, l)
	if h, ok := c.newest(item); ok && h.item.Serial == item.Serial {
		t.magnet.from = h.from
	}
	if v.Torrent == nil {
		return []*target{t}, nil
	}
	tor, err := torrentfile.Parse(v.Torrent)
	if err == nil && tor.InfoHash != item.InfoHash {
		err = errors.New("what was remembered is not the item's torrent")
	}
	if err != nil {
		return nil, err
	}
	if namesManifest(item) {
		b, err := manifest.DecodeBundle(v.Bundle)
		if err == nil {
			err = l.open(b)
		}
		if err != nil {
			return nil, err
		}
		l.papers.torrent = v.Torrent
	}
	return []*target{t}, f.web.adoptRelease(t, tor)
}
