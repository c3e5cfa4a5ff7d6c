package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"go.uber.org/zap"

	"distd/internal/manifest"
	"distd/internal/store"
	"distd/pkg/torrentfile"
)

// Errors of Rollback that callers tell apart. Their messages list what is kept.
var (
	// ErrNotKept says that the channel or the serial is not here.
	ErrNotKept = errors.New("is not kept here")
	// ErrIsNewest says that the wanted content is that of the newest release.
	ErrIsNewest = errors.New("is what the newest release has")
)

// RolledBack says what a rollback did, or would do.
type RolledBack struct {
	Channel string `json:"channel"`
	Name    string `json:"name"`
	From    uint64 `json:"from"`   // serial that was the newest
	To      uint64 `json:"to"`     // serial whose content comes back
	Serial  uint64 `json:"serial"` // under which it comes back
	ID      string `json:"id,omitempty"`
	Size    int64  `json:"size"` // bytes
	DryRun  bool   `json:"dry_run"`
	// Note is what the operator should know besides, for those who call Rollback to
	// fill in.
	Note string `json:"note,omitempty"`
}

// Rollback makes the content of an earlier release of the channel its newest
// release, under a new serial: nodes take it as any other release, and those
// that keep the content need not fetch it. to is the serial of the earlier
// release; 0 is the newest one that is older than all with the present content
// and was not taken back itself. With dry nothing is changed.
//
// The content is linked from the earlier release and not read: that its bytes
// are the signed ones is checked by whoever fetches them. Torrent, mirrors and
// piece length stay, and so does the infohash. Of o count Trackers (the earlier
// release's when there are none), PublicURL, Expires, Log and Now.
//
// Errors are ErrNotKept, ErrIsNewest, store.ErrNoPrevious, store.ErrIncomplete
// when files of the earlier release are missing, and ErrBusy.
func Rollback(ctx context.Context, st *store.Store, key manifest.PrivateKey, channel string, to uint64, dry bool, o Options) (*RolledBack, error) {
	o.Channel, o.Path = channel, st.Dir()
	if err := o.complete(); err != nil {
		return nil, err
	}
	p := &publication{Options: o, st: st, key: key}
	var res *RolledBack
	var err error
	if dry {
		_, _, res, err = p.planRollback(to)
	} else {
		err = p.inWorkspace(func() (err error) { res, err = p.rollback(ctx, to); return err })
	}
	if err != nil {
		return nil, fmt.Errorf("roll back channel %s: %w", channel, err)
	}
	res.DryRun = dry
	return res, nil
}

// rollback does it. The channel's newest release is noted as withdrawn, so that
// a second rollback does not bring it back.
func (p *publication) rollback(ctx context.Context, to uint64) (*RolledBack, error) {
	newest, old, res, err := p.planRollback(to)
	if err != nil {
		return nil, err
	}
	p.emptyAbandoned()
	b, err := old.ReadMeta(old.Manifest.Name + ".torrent")
	if err != nil {
		return nil, err
	}
	t, err := torrentfile.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("torrent of release %d: %w", old.Manifest.Serial, err)
	}
	if len(p.Trackers) == 0 {
		p.Trackers = t.Announce
	}
	if err := p.linkContent(ctx, old); err != nil {
		return nil, err
	}
	m := *old.Manifest
	m.Expires = time.Time{}
	r, err := p.seal(context.WithoutCancel(ctx), &m, t)
	if errors.Is(err, store.ErrIncomplete) {
		return nil, fmt.Errorf("release %d is damaged (distd verify names its files): publish its content anew: %w", old.Manifest.Serial, err)
	}
	if err != nil {
		return nil, err
	}
	res.ID, res.Serial = r.ID, r.Manifest.Serial
	if err := p.st.Withdraw(p.Channel, newest); err != nil { // what was asked for is done
		p.Log.Error("cannot note which release was taken back: a rollback without a serial may bring it back", zap.Error(err))
	}
	return res, nil
}

// planRollback finds what to go back to. newest is the ID of the channel's
// newest release.
func (p *publication) planRollback(to uint64) (newest string, old *store.Release, res *RolledBack, err error) {
	_, _, ptr, err := p.st.Pointer(p.Channel)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, nil, fmt.Errorf("the channel %w (channels: %s)", ErrNotKept, orNone(p.st.Channels()))
	}
	if err != nil {
		return "", nil, nil, err
	}
	var kept []*store.Release
	for _, r := range p.st.Releases() {
		if r.Complete && r.Manifest.Channel == p.Channel && r.Manifest.Serial <= ptr.Serial {
			kept = append(kept, r)
		}
	}
	if old, err = p.rollbackTarget(kept, ptr, to); err != nil {
		return "", nil, nil, fmt.Errorf("%w; kept: %s", err, listKept(kept, ptr.Serial))
	}
	serial, err := p.nextSerial()
	if err != nil {
		return "", nil, nil, err
	}
	m := old.Manifest
	return ptr.Manifest, old, &RolledBack{Channel: p.Channel, Name: m.Name, From: ptr.Serial, To: m.Serial, Serial: serial, Size: m.Size}, nil
}

// rollbackTarget chooses among the kept releases, which are sorted from old to
// new.
func (p *publication) rollbackTarget(kept []*store.Release, ptr *manifest.Pointer, to uint64) (*store.Release, error) {
	now, _ := p.st.Release(ptr.Manifest) // its manifest may be damaged: then go back all the more
	same := func(r *store.Release) bool {
		return r.ID == ptr.Manifest || now != nil && r.Manifest.SameContent(now.Manifest)
	}
	if to != 0 {
		for _, r := range kept {
			switch {
			case r.Manifest.Serial != to:
			case same(r):
				return nil, fmt.Errorf("release %d %w", to, ErrIsNewest)
			default:
				return r, nil
			}
		}
		return nil, fmt.Errorf("release %d %w", to, ErrNotKept)
	}
	withdrawn, _ := p.st.Withdrawn(p.Channel)
	var target *store.Release
	for _, r := range kept {
		if same(r) {
			break
		}
		if r.ID != withdrawn {
			target = r
		}
	}
	if target == nil {
		if !slices.ContainsFunc(kept, func(r *store.Release) bool { return !same(r) }) {
			return nil, fmt.Errorf("%w to the present content: nothing else is kept here (keep, keep_age); publish what is wanted anew", store.ErrNoPrevious)
		}
		return nil, fmt.Errorf("%w to the present content, but -to takes any of the kept ones", store.ErrNoPrevious)
	}
	return target, nil
}

func listKept(kept []*store.Release, newest uint64) string {
	var out []string
	for _, r := range kept {
		m := r.Manifest
		s := fmt.Sprintf("%d (%s, %s, %s)", m.Serial, m.Name, humanize.IBytes(uint64(m.Size)), m.Created.Local().Format(time.DateTime))
		if m.Serial == newest {
			s += " the newest"
		}
		out = append(out, s)
	}
	return orNone(out)
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// linkContent fills the workspace with the files of a release. What is in no
// piece, further names of files, and folders without files, the store makes.
func (p *publication) linkContent(ctx context.Context, from *store.Release) error {
	l := newLinker(p.st, from)
	defer l.close()
	made := map[string]bool{}
	for _, f := range from.Manifest.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !f.InTorrent() || f.Size == 0 {
			continue
		}
		name := from.Manifest.ContentPath(f.Path)
		if dir := path.Join(contentDir, path.Dir(name)); !made[dir] {
			if err := p.st.Root().MkdirAll(dir, 0o700); err != nil {
				return err
			}
			made[dir] = true
		}
		_, err := l.take(name, name, true)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("release %d is damaged: publish its content anew: %w", from.Manifest.Serial, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
