package torrentfile

import (
	"encoding/hex"
	"net/url"
	"strings"
)

// Bounds of what a link is given: it is for lines and mails, and one that answers
// is enough.
const (
	maxLinkTrackers = 20
	maxLinkURLs     = 4 // web seeds, and as many addresses of the .torrent
	maxLinkPeers    = 8
)

// Magnet says what the torrent says of itself and of where it may be had.
func (t *Torrent) Magnet() *Magnet {
	m := &Magnet{InfoHash: t.InfoHash, Name: t.Name, WebSeeds: t.WebSeeds}
	for _, tier := range t.Announce {
		m.Trackers = append(m.Trackers, tier...)
	}
	return m
}

// MagnetLink writes the link of a torrent of size bytes: the first few of each of
// m's lists, in their order, and no selection of files.
func MagnetLink(m *Magnet, size int64) string {
	short := func(list []string, most int) []string { return list[:min(len(list), most)] }
	return (&Magnet{
		InfoHash: m.InfoHash, Name: m.Name, Length: size,
		Trackers: short(m.Trackers, maxLinkTrackers), WebSeeds: short(m.WebSeeds, maxLinkURLs),
		Sources: short(m.Sources, maxLinkURLs), Peers: short(m.Peers, maxLinkPeers),
	}).String()
}

// ChannelLink writes the link of a publisher's mutable item (BEP 46): key is the
// bare ed25519 key, salt what tells the publisher's items apart.
func ChannelLink(key [32]byte, salt string) string {
	return (&Magnet{HasPublicKey: true, PublicKey: key, Salt: hex.AppendEncode(nil, []byte(salt))}).String()
}

// escapeLink escapes a value of a link. "+" is no space to all clients.
func escapeLink(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// escapePeer leaves a peer's address as it stands: some clients read it so.
func escapePeer(s string) string { return peerMarks.Replace(escapeLink(s)) }

var peerMarks = strings.NewReplacer("%3A", ":", "%5B", "[", "%5D", "]")
