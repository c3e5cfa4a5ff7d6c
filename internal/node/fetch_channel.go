package node

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"distd/internal/manifest"
	"distd/pkg/dht"
	"distd/pkg/swarm"
	"distd/pkg/torrentfile"
)

const (
	// itemPatience is how long the DHT's first answer is waited for, and itemTries
	// how often it is asked for an item before there is none, with itemPause between
	// the first two, doubled each time.
	itemPatience = 30 * time.Second
	itemTries    = 4
	itemPause    = time.Second
	// nodePoll is how often it is looked whether a node has answered.
	nodePoll = 50 * time.Millisecond
)

// proof is what makes a target a channel's release: signed by its publisher.
type proof struct {
	item   *manifest.Item
	bundle *manifest.Bundle // nil: the item names a torrent alone
	id     string           // of the release; empty without a bundle
	// manifest is what the bundle has; nil without one.
	manifest *manifest.Manifest
}

// leadOf is the lead of an item that a link's key has signed. Of the key nothing
// but itself is known: its number is whatever a signature says.
func leadOf(link *torrentfile.Magnet, item *manifest.Item) *lead {
	return &lead{item: item, key: func(sig []byte) (manifest.PublicKey, error) { return manifest.NumberedKey(link.PublicKey, sig) }}
}

// channelTarget is what a link's public key leads to, of which the item may not be
// known yet.
func channelTarget(link *torrentfile.Magnet, l *lead) *target {
	salt := link.Salts()[0]
	at := dht.Target(link.PublicKey, salt)
	t := &target{name: cmp.Or(string(salt), "channel"), key: hex.EncodeToString(at[:]), named: link.Peers, magnet: &magnet{link: link, lead: l}}
	if l != nil {
		t.key = hex.EncodeToString(l.item.InfoHash[:])
	}
	t.identity = t.key
	return t
}

// errNoDHT is of a link that only a DHT can make something of.
var errNoDHT = &codedError{ExUnavailable, errors.New("a link with a public key wants a DHT: name one of its nodes with -dht=HOST:PORT, such as a seed's peer address, or look on the link with -lsd")}

// meetFollowers makes the DHT of those known who look for the same item on this
// host's link: a distd has it at the port of its peers.
func (f *fetch) meetFollowers(link *torrentfile.Magnet) (stop func()) {
	var stops []func()
	for _, salt := range link.Salts() {
		if f.lsd != nil {
			stops = append(stops, f.lsd.Keep(dht.Target(link.PublicKey, salt), f.dht.AddNode))
		}
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// newestItem asks the DHT for the item of a link's key until it has one, for a
// bounded time.
func (f *fetch) newestItem(ctx context.Context, link *torrentfile.Magnet) (*manifest.Item, error) {
	if f.dht == nil {
		return nil, errNoDHT
	}
	defer f.meetFollowers(link)()
	asking, cancel := context.WithTimeout(ctx, cmp.Or(f.o.StopTimeout, itemPatience))
	defer cancel()
	asked, pause := 0, itemPause
	for asking.Err() == nil && (asked < itemTries || f.o.StopTimeout > 0) {
		wait := nodePoll
		if f.dht.Stats().Good > 0 {
			if asked > 0 {
				wait, pause = pause, 2*pause
			}
			if item, err := f.askForItem(asking, link); item != nil || err != nil {
				return item, err
			}
			asked++
		}
		select {
		case <-asking.Done():
		case <-time.After(wait):
		}
	}
	if ctx.Err() != nil {
		return nil, &codedError{ExTempFail, errors.New("interrupted; run the same command again to go on")}
	}
	refused := f.dht.Stats().Refused
	switch bad := refused[dht.BadSignature] + refused[dht.BadValue]; {
	case bad > 0:
		return nil, &codedError{ExDataErr, fmt.Errorf("the DHT has no good item of public key %x: %d were refused, as their signature is not the key's or their content is not what it should be", link.PublicKey, bad)}
	case asked > 0:
		return nil, &codedError{ExNoInput, fmt.Errorf("the DHT has no item of public key %x with salt %q: is the link right, and does a node of its publisher's zone run?", link.PublicKey, link.Salt)}
	}
	return nil, &codedError{ExUnavailable, errors.New("no node of the DHT answers: name one that runs with -dht=HOST:PORT; UDP must get through to it, and -zone-net must have its address")}
}

// askForItem asks for the items of all salts that the link may mean, and returns the
// likeliest that there is; nil if there is none.
func (f *fetch) askForItem(ctx context.Context, link *torrentfile.Magnet) (*manifest.Item, error) {
	salts := link.Salts()
	found := make([]*dht.Item, len(salts))
	var wg sync.WaitGroup
	for i, salt := range salts {
		wg.Go(func() {
			if it, err := f.dht.Get(ctx, link.PublicKey, salt); err == nil {
				found[i] = &it
			}
		})
	}
	wg.Wait()
	for _, it := range found {
		if it != nil {
			return itemOf(link, *it)
		}
	}
	return nil, nil
}

func itemOf(link *torrentfile.Magnet, it dht.Item) (*manifest.Item, error) {
	return manifest.ItemFrom(link.PublicKey, it.Salt, it.Seq, it.Value, it.Sig)
}

// adoptRelease makes a target the release, or the bare torrent, that its lead has
// led to. What the manifest says is checked by the key, the bytes by the manifest.
func (w *web) adoptRelease(out *target, tor *torrentfile.Torrent) error {
	l := out.magnet.lead
	p := &proof{item: l.item}
	var m *manifest.Manifest
	if l.papers != nil {
		key, err := l.key(l.papers.manifestSig)
		if err != nil {
			return err
		}
		if m, p.id, _, err = l.papers.open(key, l.pointer); err != nil {
			return coded(ExDataErr, err)
		}
		p.bundle, p.manifest = l.papers.bundle(), m
	}
	w.adopt(out, tor)
	if m != nil {
		out.verify, out.identity, out.hardLinks = verifier(m), p.id, hardLinks(m)
	}
	out.proof = p
	return nil
}

// expired is the error of a release that must not be taken up any more.
func (l *lead) expired() error {
	if l.pointer == nil || l.pointer.Expires.IsZero() || time.Now().Before(l.pointer.Expires) {
		return nil
	}
	return &codedError{ExDataErr, fmt.Errorf("serial %d expired on %s; publish again or set the clock", l.item.Serial, l.pointer.Expires.Format(time.RFC3339))}
}

// bundle is the form in which papers go to others.
func (got *papers) bundle() *manifest.Bundle {
	return &manifest.Bundle{Pointer: got.pointer, PointerSig: got.pointerSig, Manifest: got.manifest, ManifestSig: got.manifestSig}
}

// show gives peers what proves the release.
func (p *proof) show(s *swarm.Spec) {
	if p != nil && p.bundle != nil {
		s.Release = p.id
		s.Documents = func() ([]byte, error) { return manifest.EncodeBundles([]*manifest.Bundle{p.bundle}) }
	}
}

// tellers are addresses of those who likely have the release: who told of the item,
// for a distd has its DHT at the port of its peers, and peers of other downloads.
func (d *download) tellers() (out []netip.AddrPort) {
	if from := d.target.magnet.from; from.IsValid() {
		out = append(out, from)
	}
	return append(out, d.fetch.engine.Neighbours()...)
}
