package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap"

	"distd/internal/manifest"
	"distd/internal/names"
)

const (
	manifestFile = "manifest.json"
	sumsFile     = "SHA256SUMS"
	contentDir   = "content"
	progressFile = "progress"
)

// DeltaDir is the folder of a release in which its delta packs lie, called like
// their bases.
const DeltaDir = "delta"

// Meta holds the files that lie beside a release's content. A nil one is not
// written; Manifest must be there.
type Meta struct {
	Manifest, ManifestSig    []byte
	Torrent, Metalink, Meta4 []byte
	Sums                     []byte
	// Item is the channel's mutable item that leads to the release. Those that
	// were published by older versions have none.
	Item []byte
}

// files returns the metadata by file name.
func (m *Meta) files(name string) map[string][]byte {
	all := map[string][]byte{
		manifestFile: m.Manifest, manifestFile + sigSuffix: m.ManifestSig,
		name + ".torrent": m.Torrent, name + ".metalink": m.Metalink, name + ".meta4": m.Meta4, sumsFile: m.Sums,
		manifest.ItemFile: m.Item,
	}
	for k, v := range all {
		if v == nil {
			delete(all, k)
		}
	}
	return all
}

// Release is a release in the store. It does not change; after Commit there is
// a new one.
type Release struct {
	ID       string
	Manifest *manifest.Manifest // shared, not to be changed
	// Dir is the absolute path of the release's folder, which holds the
	// metadata, and the content below ContentRoot.
	Dir string
	// Complete says that all content is there, verified and durable.
	Complete bool

	root *os.Root
	path string // Dir below root
}

// ReadMeta returns a file of the release's folder, such as "manifest.json" or
// "NAME.torrent"; fs.ErrNotExist when there is none.
func (r *Release) ReadMeta(name string) ([]byte, error) {
	if err := names.Element(name); err != nil {
		return nil, fmt.Errorf("release %s: %w", r.ID, err)
	}
	b, err := r.root.ReadFile(r.path + "/" + name)
	if err != nil {
		return nil, explain("read", filepath.Join(r.Dir, name), err)
	}
	return b, nil
}

// ContentRoot returns the absolute path of the folder that holds NAME.
func (r *Release) ContentRoot() string { return filepath.Join(r.Dir, contentDir) }

// DeltaFile returns the absolute path of the release's delta pack for a base.
func (r *Release) DeltaFile(base string) string { return filepath.Join(r.Dir, DeltaDir, base) }

// live is the path, below the store's folder, of what NAME leads to.
func (r *Release) live() string { return r.path + "/" + contentDir + "/" + r.Manifest.Name }

func (s *Store) newRelease(id string, m *manifest.Manifest, complete bool) *Release {
	r := &Release{ID: id, Manifest: m, Complete: complete, root: s.root, path: stagingDir + "/" + id}
	if complete {
		r.path = releasesDir + "/" + id
	}
	r.Dir = s.abs(r.path)
	return r
}

func (s *Store) remember(r *Release) *Release {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.releases[r.ID] = r
	s.changes++
	if r.Complete {
		delete(s.linked, r.ID)
		delete(s.trees, r.ID)
	}
	return r
}

// share lets the manifest of a release that comes have its strings in common with
// that of the newest one that its channel has. That of a release which is known is
// left alone: others read it.
func (s *Store) share(id string, m *manifest.Manifest) {
	s.mu.RLock()
	var newest *Release
	if s.releases[id] != nil {
		s.mu.RUnlock()
		return
	}
	for _, r := range s.releases {
		if r.ID != id && r.Manifest != m && r.Manifest.Channel == m.Channel && (newest == nil || compareAge(newest, r) < 0) {
			newest = r
		}
	}
	s.mu.RUnlock()
	if newest != nil {
		m.Share(newest.Manifest)
	}
}

func (s *Store) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.releases, id)
	delete(s.linked, id)
	delete(s.trees, id)
	s.changes++
}

// linkedIn returns what is known of linked files in a staged release; nil for
// nothing. The caller holds the release's lock.
func (s *Store) linkedIn(id string) []uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.linked[id]
}

// NoteLinked tells of files of a staged release, by their indexes in the manifest,
// that they are links to files of complete releases: the inodes that they have,
// 0 for all others. Commit need not sync them again.
func (s *Store) NoteLinked(id string, inodes []uint64) {
	defer s.ids.lock(id)()
	s.noteLinked(id, inodes)
}

func (s *Store) noteLinked(id string, inodes []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.linked[id] = inodes
}

// Release returns the release with the ID, staged or complete, or
// fs.ErrNotExist.
func (s *Store) Release(id string) (*Release, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if r := s.releases[id]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("release %q: %w", id, fs.ErrNotExist)
}

// Releases returns all releases, sorted by channel, then by serial.
func (s *Store) Releases() []*Release {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]*Release, 0, len(s.releases))
	for _, r := range s.releases {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b *Release) int {
		if c := strings.Compare(a.Manifest.Channel, b.Manifest.Channel); c != 0 {
			return c
		}
		return compareAge(a, b)
	})
	return out
}

// compareAge orders releases of one channel from old to new.
func compareAge(a, b *Release) int {
	switch {
	case a.Manifest.Serial < b.Manifest.Serial:
		return -1
	case a.Manifest.Serial > b.Manifest.Serial:
		return 1
	}
	return strings.Compare(a.ID, b.ID)
}

// Named returns the newest release with the name. A release that no pointer
// has reached yet is not found: it is not published.
func (s *Store) Named(name string) (*Release, bool) {
	serials := map[string]uint64{}
	var best *Release
	for _, r := range s.Releases() {
		m := r.Manifest
		if m.Name != name {
			continue
		}
		top, ok := serials[m.Channel]
		if !ok {
			if _, _, p, err := s.Pointer(m.Channel); err == nil {
				top = p.Serial
			}
			serials[m.Channel] = top
		}
		if m.Serial > top {
			continue
		}
		if best == nil || best.Manifest.Channel == m.Channel || m.Created.After(best.Manifest.Created) {
			best = r
		}
	}
	return best, best != nil
}

// loadReleases reads the releases that are on the disk. What is not a whole
// staged release is of no use and removed; a complete release whose manifest
// is damaged is kept aside from the others, as it may be the live one.
func (s *Store) loadReleases() error {
	for _, dir := range []string{releasesDir, stagingDir} {
		entries, err := readDir(s.root, dir)
		if err != nil {
			return explain("read folder", s.abs(dir), err)
		}
		for _, e := range entries {
			if err := s.loadRelease(dir, e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) loadRelease(dir, id string) error {
	m, err := s.readManifest(dir+"/"+id, id)
	if err != nil && dir == stagingDir {
		s.log.Warn("removing what is not a staged release", zap.String("path", s.abs(dir+"/"+id)), zap.Error(err))
		return s.discard(dir + "/" + id)
	}
	if err != nil {
		s.log.Error("release is damaged and not used; it is repaired when it is fetched again", zap.String("path", s.abs(dir+"/"+id)), zap.Error(err))
		return nil
	}
	s.share(id, m)
	complete := dir == releasesDir
	if old, err := s.Release(id); err == nil && old.Complete && !complete {
		return s.discard(dir + "/" + id)
	}
	r := s.remember(s.newRelease(id, m, complete))
	if complete {
		// A crash may have come between the rename and this.
		return s.fs.removeIfThere(r.path + "/" + progressFile)
	}
	return nil
}

// readManifest reads the manifest of a release that was verified before it was
// stored. Its hash is its name, so damage shows.
func (s *Store) readManifest(dir, id string) (*manifest.Manifest, error) {
	if !manifest.ValidID(id) {
		return nil, errors.New("its name is not a release's ID")
	}
	data, err := s.root.ReadFile(dir + "/" + manifestFile)
	if err != nil {
		return nil, err
	}
	if manifest.ID(data) != id {
		return nil, errors.New("manifest.json is damaged: its SHA-256 is not the release's ID")
	}
	m := new(manifest.Manifest)
	if err := json.Unmarshal(data, m); err != nil {
		return nil, err
	}
	m.Created, m.Expires = utc(m.Created), utc(m.Expires)
	return m, m.Check()
}

// discard takes a folder away in one step and then deletes it.
func (s *Store) discard(name string) error {
	trash := trashDir + "/" + tempName(path.Base(name))
	if err := s.fs.rename(name, trash); err != nil {
		return err
	}
	if err := s.fs.syncDir(path.Dir(name)); err != nil {
		return err
	}
	return s.fs.purge(trash)
}
