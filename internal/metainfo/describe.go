package metainfo

import (
	"encoding/hex"
	"maps"
	"slices"
	"time"

	"distd/pkg/torrentfile"
)

// Description is what there is to say about a torrent.
type Description struct {
	Name        string `json:"name"`
	Tree        bool   `json:"tree"`
	InfoHash    string `json:"infohash"`
	Magnet      string `json:"magnet"`
	Size        int64  `json:"size"` // bytes, without padding
	Pieces      int    `json:"pieces"`
	PieceLength int64  `json:"piece_length"` // bytes
	Files       int    `json:"files"`        // without padding
	// FileList is left out where only their number is asked for.
	FileList  []FileLength `json:"file_list,omitempty"`
	Padding   int64        `json:"padding,omitempty"` // bytes
	Announce  [][]string   `json:"announce"`          // tiers
	WebSeeds  []string     `json:"web_seeds"`
	HTTPSeeds []string     `json:"http_seeds,omitempty"` // BEP 17
	Private   bool         `json:"private"`
	Source    string       `json:"source,omitempty"`
	Comment   string       `json:"comment,omitempty"`
	CreatedBy string       `json:"created_by,omitempty"`
	Created   *time.Time   `json:"created,omitempty"`
	// OtherKeys has the names of what else is in the torrent, which distd does
	// not use.
	OtherKeys []string `json:"other_keys,omitempty"`
}

// FileLength is a file of a torrent.
type FileLength struct {
	Path   string `json:"path"`   // begins with the torrent's name
	Length int64  `json:"length"` // bytes
}

// Describe describes a torrent, with its files if list is set.
func Describe(t *torrentfile.Torrent, list bool) Description {
	d := Description{
		Name: t.Name, Tree: t.Tree, InfoHash: hex.EncodeToString(t.InfoHash[:]), Magnet: torrentfile.MagnetLink(t.Magnet(), t.Layout.Total),
		Size: t.Layout.Total, Pieces: t.Layout.NumPieces(), PieceLength: t.Layout.PieceLength,
		Announce: t.Announce, WebSeeds: t.WebSeeds, HTTPSeeds: t.HTTPSeeds,
		Private: t.Private, Source: t.Source, Comment: t.Comment, CreatedBy: t.CreatedBy,
		OtherKeys: slices.Sorted(maps.Keys(t.Extra)),
	}
	if d.Announce == nil {
		d.Announce = [][]string{}
	}
	if d.WebSeeds == nil {
		d.WebSeeds = []string{}
	}
	if !t.Created.IsZero() {
		created := t.Created.UTC()
		d.Created = &created
	}
	for i, f := range t.Layout.Files {
		if padding(t, i) {
			d.Padding += f.Length
			d.Size -= f.Length
			continue
		}
		d.Files++
		if list {
			d.FileList = append(d.FileList, FileLength{f.Path, f.Length})
		}
	}
	return d
}

func padding(t *torrentfile.Torrent, file int) bool { return t.Padding != nil && t.Padding[file] }
