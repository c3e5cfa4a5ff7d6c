package publish

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"distd/internal/delta"
	"distd/internal/layout"
	"distd/internal/manifest"
	"distd/internal/store"
	"distd/pkg/torrentfile"
)

// publication is one run of Publish.
type publication struct {
	Options
	st   *store.Store
	key  manifest.PrivateKey
	work *workspace

	chunks *delta.Index // of what is being published; nil: none are wanted
	rec    *record      // of the publish before, of the same source; nil: none
	linked []uint64     // as Store.NoteLinked has it
}

func (p *publication) run(ctx context.Context) (*Result, error) {
	p.emptyAbandoned()
	own, err := p.work.own()
	if err != nil {
		return nil, err
	}
	src, err := openSource(ctx, p.Path, p.Name, p.scope(own))
	if err != nil {
		return nil, err
	}
	defer func() { _ = src.close() }()
	m, err := p.describe(src)
	if err != nil {
		return nil, err
	}
	known := p.findUnchanged(src)
	if known != nil && known.all(src) && !p.Force {
		setSums(m, known.sums)
		if r := p.unchanged(m); r != nil {
			return p.nothingNew(r, src, known.sums), nil
		}
	}
	p.arrange(m, known)
	sums, method, err := p.take(ctx, src, m, &known)
	if err != nil {
		return nil, err
	}
	if err := src.verify(ctx); err != nil {
		return nil, err
	}
	setSums(m, sums.files)
	m.Pieces = sums.sha256
	if r := p.unchanged(m); r != nil && !p.Force {
		return p.nothingNew(r, src, sums.files), nil
	}
	if err := p.mayGoOut(ctx, m); err != nil {
		return nil, err
	}
	if err := p.makeDeltas(ctx, m, p.chunks); err != nil {
		return nil, err
	}
	// From here on it is a matter of a sync, and stopping half-way would only
	// leave things to clean up.
	t, err := newTorrent(m, sums.sha1)
	if err != nil {
		return nil, err
	}
	if known != nil {
		p.linked = known.inodes
	}
	r, err := p.seal(context.WithoutCancel(ctx), m, t)
	if err != nil {
		return nil, err
	}
	res := p.result(r, t)
	res.Method, res.Unreadable = method, src.skipped.total
	if known != nil {
		res.Kept = known.count
	}
	p.keepRecord(src, r, sums.files)
	return res, nil
}

// mayGoOut is the last word on a release before the work that only a new one takes.
func (p *publication) mayGoOut(ctx context.Context, m *manifest.Manifest) error {
	if err := Compare(p.newest(), m).Allowed(p.MaxDelete); err != nil {
		return err
	}
	if p.Confirm != nil {
		if err := p.Confirm(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// scope says what of the source is published. own is the store's folder.
func (p *publication) scope(own stat) scope {
	return scope{own, p.LeaveOut, p.SkipUnreadable, p.Exclude}
}

func setSums(m *manifest.Manifest, sums []fileSums) {
	for i, s := range sums {
		f := &m.Files[i]
		f.SHA256, f.MD5 = hex.EncodeToString(s.sha256), hex.EncodeToString(s.md5)
		if f.Hardlink != "" {
			first := &m.Files[m.FileIndex(f.Hardlink)] // it comes before
			f.SHA256, f.MD5 = first.SHA256, first.MD5
		}
	}
}

// describe begins the manifest with all that is known before reading.
func (p *publication) describe(src *source) (*manifest.Manifest, error) {
	if err := checkName(src.name); err != nil {
		return nil, err
	}
	if n := len(src.files) + len(src.dirs); n > manifest.MaxEntries {
		return nil, fmt.Errorf("%d files and folders are more than the %d that a release can have", n, manifest.MaxEntries)
	}
	if src.total > layout.MaxTotal {
		return nil, fmt.Errorf("%d bytes are more than the %d that a release can have", src.total, layout.MaxTotal)
	}
	if src.stripped > 0 {
		p.Log.Warn("set-ID and sticky bits are not published", zap.String("path", p.Path), zap.Int("files_and_folders", src.stripped))
	}
	if src.skipped.total > 0 {
		p.Log.Warn("left out what may not be read", zap.String("path", p.Path), zap.Int("files_and_folders", src.skipped.total), zap.Error(src.skipped.err()))
	}
	m := &manifest.Manifest{
		Format: manifest.Format, Channel: p.Channel, Name: src.name, Kind: src.kind,
		Size: src.total, PieceLength: p.PieceLength,
	}
	if m.PieceLength == 0 {
		m.PieceLength = torrentfile.PieceLength(src.total)
	}
	var err error
	if m.Mirrors, err = mirrors(p.Mirrors, m.Kind, m.Name); err != nil {
		return nil, err
	}
	for _, e := range src.files {
		f := manifest.File{Path: e.path, MTime: mtime(e), Symlink: e.target, Hardlink: e.first}
		if e.target == "" {
			f.Size, f.Mode = e.stat.size, uint32(e.stat.mode.Perm())
		}
		if src.kind == manifest.KindFile {
			f.Path = src.name
		}
		m.Files = append(m.Files, f)
	}
	for _, e := range src.dirs {
		m.Dirs = append(m.Dirs, manifest.Dir{Path: e.path, Mode: uint32(e.stat.mode.Perm()), MTime: mtime(e)})
	}
	return m, nil
}

func mtime(e entry) int64 { return min(max(e.stat.mtime.sec, manifest.MinMTime), manifest.MaxMTime) }

// unchanged returns the channel's newest release if its content is m's, and
// it may stay the newest.
func (p *publication) unchanged(m *manifest.Manifest) *store.Release {
	data, sig, _, err := p.st.Pointer(p.Channel)
	if err != nil {
		return nil
	}
	ptr, err := manifest.OpenPointer(p.key.Public(), data, sig)
	if err != nil {
		return nil
	}
	r, err := p.st.Release(ptr.Manifest)
	if err != nil || !r.Complete || r.Manifest.Expired(p.Now()) || !r.Manifest.SameContent(m) {
		return nil
	}
	if a := p.After; a != nil && a.Manifest != r.ID && a.Serial >= r.Manifest.Serial {
		return nil
	}
	return r
}

// seal finishes the manifest, signs it, and makes it and the content in the
// workspace, whose torrent is t, the channel's newest release.
func (p *publication) seal(ctx context.Context, m *manifest.Manifest, t *torrentfile.Torrent) (_ *store.Release, err error) {
	m.InfoHash = hex.EncodeToString(t.InfoHash[:])
	m.Created = p.Now().UTC().Truncate(time.Second)
	if p.Expires > 0 {
		m.Expires = m.Created.Add(p.Expires).Truncate(time.Second)
	}
	if m.Serial, err = p.nextSerial(); err != nil {
		return nil, err
	}
	data, err := m.Encode()
	if err != nil {
		return nil, err
	}
	id := manifest.ID(data)
	comment := fmt.Sprintf("channel %s serial %d release %s", m.Channel, m.Serial, id)
	own := ""
	if p.PublicURL != "" {
		own = p.PublicURL + "/releases/" + id + "/"
	}
	t.Announce, t.WebSeeds, t.CreatedBy, t.Created = p.Trackers, webSeeds(m, own), generator, m.Created
	meta, err := render(m, t, data, manifest.Sign(p.key, data, comment), p.PublicURL)
	if err != nil {
		return nil, err
	}
	if meta.Metalink == nil {
		p.Log.Warn("tree has too many files for a metalink: it has none", zap.String("channel", p.Channel), zap.Int("files", len(m.Files)))
	}
	ptr := m.Pointer(id)
	pdata, err := ptr.Encode()
	if err != nil {
		return nil, err
	}
	item, err := manifest.SignItem(p.key, ptr)
	if err != nil {
		return nil, err
	}
	meta.Item = item.Encode()
	r, err := p.st.Stage(m, id, meta)
	if err != nil {
		return nil, err
	}
	if err = p.work.moveTo(r); err == nil {
		p.st.NoteLinked(r.ID, p.linked)
		err = p.placeDeltas(r, m, p.chunks)
	}
	if err == nil {
		r, err = p.commit(ctx, r, pdata, manifest.Sign(p.key, pdata, comment), ptr)
	}
	if err != nil {
		p.emptyAbandoned()
		return nil, err
	}
	p.removeAbandoned(ctx, id)
	return r, nil
}

// commit makes the staged release complete and then the newest.
func (p *publication) commit(ctx context.Context, r *store.Release, data, sig []byte, ptr *manifest.Pointer) (*store.Release, error) {
	r, err := p.st.Commit(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	if err := p.st.SetPointer(p.Channel, data, sig, ptr); err != nil {
		return r, err
	}
	if p.Announce != nil {
		p.Announce(r)
	}
	return r, nil
}

// nextSerial is one above all that the channel has seen.
func (p *publication) nextSerial() (uint64, error) {
	n := p.st.HighestSerial(p.Channel)
	if p.After != nil {
		n = max(n, p.After.Serial)
	}
	_, _, ptr, err := p.st.Pointer(p.Channel)
	switch {
	case err == nil:
		n = max(n, ptr.Serial)
	case !errors.Is(err, fs.ErrNotExist):
		return 0, err
	}
	return n + 1, nil
}

// abandoned lists releases of the channel that a publish has begun and not
// brought to an end.
func (p *publication) abandoned(except string) []*store.Release {
	var top uint64
	if _, _, ptr, err := p.st.Pointer(p.Channel); err == nil {
		top, except = ptr.Serial, ptr.Manifest
	}
	var out []*store.Release
	for _, r := range p.st.Releases() {
		if m := r.Manifest; m.Channel == p.Channel && m.Serial >= top && r.ID != except {
			out = append(out, r)
		}
	}
	return out
}

// emptyAbandoned frees the space of abandoned releases. The rest of them goes
// when the next one has taken their place.
func (p *publication) emptyAbandoned() {
	for _, r := range p.abandoned("") {
		if r.Complete {
			continue
		}
		rel, err := filepath.Rel(p.st.Dir(), r.ContentRoot())
		if err == nil {
			err = p.st.Root().RemoveAll(filepath.Join(rel, r.Manifest.Name))
		}
		if err != nil {
			p.Log.Warn("cannot remove what an interrupted publish left", zap.String("path", r.Dir), zap.Error(err))
		}
	}
}

// removeAbandoned removes abandoned releases, which the store does once
// another release has their serial.
func (p *publication) removeAbandoned(ctx context.Context, id string) {
	gone := map[string]bool{}
	for _, r := range p.abandoned(id) {
		gone[r.ID] = true
	}
	if len(gone) == 0 {
		return
	}
	if _, err := p.st.Prune(ctx, math.MaxInt, func(id string) bool { return !gone[id] }); err != nil {
		p.Log.Warn("cannot remove what an interrupted publish left", zap.Error(err))
	}
}

// newTorrent makes the release's torrent.
func newTorrent(m *manifest.Manifest, pieces []byte) (*torrentfile.Torrent, error) {
	l, err := m.Layout()
	if err != nil {
		return nil, err
	}
	return torrentfile.Create(m.Name, m.Kind == manifest.KindTree, l, pieces)
}

// result describes a release, whose torrent may be given.
func (p *publication) result(r *store.Release, t *torrentfile.Torrent) *Result {
	m := r.Manifest
	res := &Result{
		ID: r.ID, Channel: m.Channel, Name: m.Name, InfoHash: m.InfoHash, Dir: r.Dir,
		Serial: m.Serial, Size: m.Size, Pieces: len(m.Pieces) / 32, PieceLength: m.PieceLength,
	}
	for _, f := range m.Files {
		if f.Symlink == "" {
			res.Files++
		}
	}
	res.ChannelLink = torrentfile.ChannelLink(p.key.Public().Raw(), m.Channel)
	var err error
	if res.Magnet, err = p.magnet(r, t); err != nil {
		p.Log.Warn("the release has no magnet link", zap.String("release", r.ID), zap.Error(err))
	}
	return res
}

// magnet is the magnet link of the release's torrent, which is read when it is not
// given.
func (p *publication) magnet(r *store.Release, t *torrentfile.Torrent) (string, error) {
	if t == nil {
		data, err := r.ReadMeta(r.Manifest.Name + ".torrent")
		if err != nil {
			return "", err
		}
		if t, err = torrentfile.Parse(data); err != nil {
			return "", err
		}
	}
	return Magnet(t, r.Manifest, r.ID, p.PublicURL), nil
}
