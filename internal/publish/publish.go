// Package publish makes immutable releases from files and folders.
//
// The source is read once, on all cores: its pieces get their SHA-1 and
// SHA-256 and its files their SHA-256, while the bytes are copied into the
// store (or shared with it by reflink or hard link). From the sums come the v1
// torrent (BEP 3, BEP 12 trackers, BEP 19 web seeds), the metalinks, SHA256SUMS
// and the signed manifest. The channel's pointer is written last: until then
// nothing of the release is visible, and what a crash leaves behind is removed
// by the next publish.
//
// Publish starts goroutines and returns when all of them have ended.
package publish

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"distd/internal/manifest"
	"distd/internal/names"
	"distd/internal/store"
	"distd/pkg/torrentfile"
)

// Errors that callers tell apart.
var (
	// ErrSourceChanged says that the source was not the same all the time
	// while it was read. Nothing is published.
	ErrSourceChanged = errors.New("the source changed while it was read")
	// ErrBusy says that another publish runs on the store.
	ErrBusy = errors.New("another publish is running")
)

// Options says what to publish and how. Path and Channel are needed.
type Options struct {
	Path    string // a file or folder; a symlink to one is followed
	Channel string
	Name    string // of the release; by default the path's last element

	// InPlace shares the source's files by hard links instead of copying
	// them. The source must be on the store's file system, and must not be
	// written to afterwards: what is written appears in the release, whose
	// hashes then no longer fit, and every node refuses those bytes. Replacing
	// a file by another (as package managers and rsync do) is harmless.
	// Modification times are cut to whole seconds.
	InPlace bool

	MD5         bool       // also take the MD5 of each file, for old clients
	PieceLength int64      // bytes, a power of two; 0: what suits the size
	Trackers    [][]string // in tiers, best first
	// Mirrors are other servers of the content. A URL that ends with a slash
	// is a folder that holds the release's name; any other one is that of the
	// release itself (the file, or the tree's folder).
	Mirrors []manifest.Mirror
	// PublicURL is the base URL under which the publisher's own server is
	// reached, for the torrent's and the metalinks' URLs; "" for none.
	PublicURL string
	Expires   time.Duration // how long the release is valid; 0: for ever
	// After is the channel's newest release at another place, where the release
	// is to follow it: its serial will be higher, and the newest one here counts
	// as unchanged only when it follows too, or is the same.
	After *manifest.Pointer
	// LeaveOut says which paths of a tree, slash-separated and below it, are not
	// published, a folder with all in it. nil leaves nothing out.
	LeaveOut func(path string) bool
	// Exclude has patterns of files of a tree that are left out, as in IgnoreFile.
	Exclude []string
	// SkipUnreadable leaves out what may not be read, where it is refused
	// otherwise.
	SkipUnreadable bool
	// Confirm is called when all was read and found unchanged, and nothing is
	// visible yet. With its error nothing is published.
	Confirm func() error
	// Announce is called as soon as the release is the channel's newest: what is
	// left to do then is for the next publish and for the result.
	Announce func(*store.Release)
	// DeltaBases is for how many of the channel's releases before this one a delta
	// pack is made, where it saves something; 0: none.
	DeltaBases int
	// Checksum reads all files, also those whose size and times are those with
	// which they were read by the publish before.
	Checksum bool
	// MaxDelete holds back a release that deletes more; nil: none is held back.
	MaxDelete *MaxDelete
	// Force makes a new release even when nothing has changed.
	Force bool

	// MakeRoom, when not nil, is told how many bytes are about to be copied, and
	// may free some space for them.
	MakeRoom func(need int64)
	// Progress is called now and then with the bytes that are done, from one
	// goroutine at a time, and at the end with done == total.
	Progress func(done, total int64)
	Log      *zap.Logger
	Now      func() time.Time
}

// Result says what was published.
type Result struct {
	ID       string `json:"id"`
	Channel  string `json:"channel"`
	Name     string `json:"name"`
	InfoHash string `json:"infohash"`
	Dir      string `json:"dir"` // the release's folder
	Serial   uint64 `json:"serial"`
	Size     int64  `json:"size"` // bytes
	Files    int    `json:"files"`
	Pieces   int    `json:"pieces"`
	// Kept is how many files were as they had been at the publish before, and so
	// were taken from its release. They are not in what Method speaks of.
	Kept        int   `json:"kept"`
	PieceLength int64 `json:"piece_length"` // bytes
	// Method says how the bytes were taken over.
	Method Method `json:"method,omitempty"`
	// Unchanged says that the channel's newest release has this content
	// already, and that nothing was published. The other fields describe it.
	Unchanged bool          `json:"unchanged"`
	Duration  time.Duration `json:"duration_ns"`
	// Magnet is the release's magnet link, and ChannelLink the one by which the
	// channel is followed in a DHT (BEP 46).
	Magnet      string `json:"magnet,omitempty"`
	ChannelLink string `json:"channel_link,omitempty"`
	// Unreadable is how many files and folders were left out as they may not be
	// read.
	Unreadable int `json:"unreadable,omitempty"`
	// Notes are what the publisher should know besides, for those who call
	// Publish to fill in.
	Notes []string `json:"notes,omitempty"`
}

// Publish makes a release from o.Path, signs it with key, and makes it the
// newest of its channel.
//
// When the newest release has the same name, paths, contents, modes and symlink
// targets, and has not expired and is signed with the same key, nothing is
// published and the result says Unchanged. Modification times do not count, as
// they differ from build to build; nor do trackers, mirrors and piece length.
// With Force there is a release in any case.
//
// Special files, symlinks that lead out of the source, names that break the
// rules and files that cannot be read are refused, and so is a source without
// any file. Set-ID and sticky bits are not published.
//
// A release that deletes more files than MaxDelete allows is ErrManyDeleted.
//
// When ctx ends while the source is read, nothing is published. Once all is
// read and found unchanged, only a sync is missing and ctx no longer counts.
func Publish(ctx context.Context, st *store.Store, key manifest.PrivateKey, o Options) (*Result, error) {
	start := time.Now()
	if err := o.complete(); err != nil {
		return nil, err
	}
	res, err := publish(ctx, &publication{Options: o, st: st, key: key})
	if err != nil {
		return nil, fmt.Errorf("publish %s: %w", o.Path, err)
	}
	res.Duration = time.Since(start)
	return res, nil
}

func publish(ctx context.Context, p *publication) (res *Result, err error) {
	err = p.inWorkspace(func() error { res, err = p.run(ctx); return err })
	return res, err
}

// inWorkspace calls fn with the workspace open.
func (p *publication) inWorkspace(fn func() error) (err error) {
	if p.work, err = openWorkspace(p.st); err != nil {
		return err
	}
	err = fn()
	if cerr := p.work.close(); cerr != nil {
		// It is tried again by the next publish and when the store is opened.
		p.Log.Warn("cannot remove temporary files of a publish", zap.Error(cerr))
	}
	return err
}

// complete checks the options that can be checked without looking at the
// source, and fills in defaults.
func (o *Options) complete() error {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Path == "" {
		return errors.New("publish: no path is given")
	}
	if err := names.Channel(o.Channel); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if n := o.PieceLength; n != 0 && (n < manifest.MinPieceLength || n > manifest.MaxPieceLength || n&(n-1) != 0) {
		return fmt.Errorf("publish: piece length %d is not a power of two between %d and %d", n, manifest.MinPieceLength, manifest.MaxPieceLength)
	}
	if o.Expires < 0 || o.Expires > 0 && o.Expires < time.Second {
		return fmt.Errorf("publish: a release that expires after %s is never valid", o.Expires)
	}
	if o.PublicURL = strings.TrimRight(o.PublicURL, "/"); o.PublicURL != "" {
		if err := manifest.CheckURL(o.PublicURL); err != nil {
			return fmt.Errorf("publish: public URL %q: %w", o.PublicURL, err)
		}
	}
	return o.checkTrackers()
}

// checkTrackers lets the torrent's own rules judge the trackers before hours
// may be spent on hashing.
func (o *Options) checkTrackers() error {
	info := []byte("d6:lengthi0e4:name1:x12:piece lengthi16384e6:pieces0:e")
	t, err := torrentfile.ParseInfo(info)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	t.Announce = o.Trackers
	if _, err := t.Encode(); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// maxName is the length of a release's name, in bytes, with which
// NAME.metalink is still the name of a file.
const maxName = names.MaxElement - len(".metalink")

func checkName(name string) error {
	if err := names.ReleaseName(name); err != nil {
		return fmt.Errorf("%w: choose another one with -name", err)
	}
	if len(name) > maxName {
		return fmt.Errorf("name %q is longer than %d bytes: choose a shorter one with -name", name, maxName)
	}
	return nil
}
