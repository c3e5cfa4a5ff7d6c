package node

import (
	"errors"
	"fmt"

	"distd/internal/manifest"
	"distd/pkg/swarm"
	"distd/pkg/torrentfile"
)

// lead is the item of a channel, with what peers have given of what it points at.
// A daemon and a fetch follow it alike; they differ in what they know of the key.
type lead struct {
	item *manifest.Item
	// key is the one that must have made a signature, the text of a .minisig file.
	key func(sig []byte) (manifest.PublicKey, error)
	// base is the release from which a delta pack is of use, of at most so many
	// bytes, when it comes along; "" for none.
	base    string
	maxPack int64

	// What check has found, verified by key and item; nil before, and for good where
	// the item names no manifest.
	pointer *manifest.Pointer
	papers  *papers
}

// namesManifest says whether an item leads to a release. Those of publishers that
// are no distd lead to a torrent alone.
func namesManifest(i *manifest.Item) bool { return i.Manifest != [len(i.Manifest)]byte{} }

// seek has what the item points at asked for: the torrent's info, and the papers.
func (l *lead) seek(c *swarm.InfoConfig) {
	c.InfoHash = l.item.InfoHash
	if namesManifest(l.item) {
		c.Documents, c.MaxDocuments, c.CheckDocuments = true, manifest.MaxBundles, l.check
	}
}

// check finds the papers that the item points at among those that a peer gave.
func (l *lead) check(data []byte) error {
	parts, err := manifest.SplitBundles(data)
	if err != nil {
		return err
	}
	err = errors.New("the release is not among the peer's papers")
	for _, part := range parts {
		b, e := manifest.DecodeBundle(part)
		if e == nil {
			e = l.open(b)
		}
		if e == nil {
			l.packAmong(parts)
			return nil
		}
		err = e
	}
	return err
}

// packAmong takes over the pack that came with the papers. Whether it is good is
// found out where the release is staged, as with one from an upstream.
func (l *lead) packAmong(parts [][]byte) {
	if l.base == "" {
		return
	}
	for _, part := range parts {
		if p, ok := manifest.DecodePack(part); ok && p.Release == l.pointer.Manifest && p.Base == l.base && int64(len(p.Data)) <= l.maxPack {
			l.papers.pack, l.papers.packBase = p.Data, p.Base
			return
		}
	}
}

// open takes over the papers of one bundle if they are what the item points at.
func (l *lead) open(b *manifest.Bundle) error {
	key, err := l.key(b.PointerSig)
	if err != nil {
		return err
	}
	p, err := manifest.OpenPointer(key, b.Pointer, b.PointerSig)
	if err != nil {
		return err
	}
	if err := l.item.Matches(p); err != nil {
		return err
	}
	if key, err = l.key(b.ManifestSig); err != nil {
		return err
	}
	if _, id, err := manifest.Open(key, b.Manifest, b.ManifestSig); err != nil || id != p.Manifest {
		return errors.Join(err, fmt.Errorf("manifest %s: what the peer gave is not it", p.Manifest))
	}
	l.pointer = p
	l.papers = &papers{pointer: b.Pointer, pointerSig: b.PointerSig, manifest: b.Manifest, manifestSig: b.ManifestSig, item: l.item.Encode()}
	return nil
}

// take reads the torrent's info, which has the item's infohash.
func (l *lead) take(info []byte) (*torrentfile.Torrent, error) {
	t, err := torrentfile.ParseInfo(info)
	if err == nil && l.papers != nil {
		l.papers.parsed = t
	}
	if err != nil {
		return nil, fmt.Errorf("torrent %x of serial %d: %w", l.item.InfoHash, l.item.Serial, err)
	}
	return t, nil
}
