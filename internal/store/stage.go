package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"distd/internal/manifest"
	"distd/internal/names"
)

// Stage makes the staging folder of a release from its verified manifest and
// metadata. It may be called again: what is there is kept with its content and
// progress, and only files that are missing are added. A release that is
// complete already is returned as it is.
//
// id must be the SHA-256 of meta.Manifest. m is the store's from here on.
func (s *Store) Stage(m *manifest.Manifest, id string, meta Meta) (*Release, error) {
	if err := checkStage(m, id, &meta); err != nil {
		return nil, fmt.Errorf("stage release %s: %w", id, err)
	}
	s.share(id, m)
	defer s.ids.lock(id)()
	r, err := s.stage(m, id, &meta)
	if err != nil {
		return nil, fmt.Errorf("stage release %s of channel %s: %w", id, m.Channel, err)
	}
	return s.remember(r), nil
}

func checkStage(m *manifest.Manifest, id string, meta *Meta) error {
	if got := manifest.ID(meta.Manifest); got != id {
		return fmt.Errorf("manifest has the SHA-256 %s", got)
	}
	if err := m.Check(); err != nil {
		return err
	}
	if longest := m.Name + ".metalink"; len(longest) > names.MaxElement {
		return fmt.Errorf("name %q is too long: with .metalink behind it it must not exceed %d bytes", m.Name, names.MaxElement)
	}
	return nil
}

func (s *Store) stage(m *manifest.Manifest, id string, meta *Meta) (*Release, error) {
	for _, complete := range []bool{true, false} {
		r := s.newRelease(id, m, complete)
		_, err := s.root.Lstat(r.path)
		if err == nil {
			return r, s.fill(r, meta)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, explain("look at", r.Dir, err)
		}
	}
	r := s.newRelease(id, m, false)
	tmp := tmpDir + "/" + tempName(id)
	if err := s.build(tmp, m.Name, meta); err != nil {
		_ = s.fs.purge(tmp)
		return nil, err
	}
	if err := s.fs.rename(tmp, r.path); err != nil {
		_ = s.fs.purge(tmp)
		return nil, err
	}
	return r, s.fs.syncDir(stagingDir)
}

// build writes a staging folder under a temporary name.
func (s *Store) build(tmp, name string, meta *Meta) error {
	if err := s.fs.mkdir(tmp, 0o755); err != nil {
		return err
	}
	files := meta.files(name)
	// Each is synced, which is waiting for the most part.
	all := slices.Sorted(maps.Keys(files))
	err := parallel(context.Background(), s.workers, len(all), func(_ context.Context, i int) error {
		return s.fs.write(tmp+"/"+all[i], files[all[i]], 0o644)
	})
	if err != nil {
		return err
	}
	if err := s.fs.mkdir(tmp+"/"+contentDir, 0o755); err != nil {
		return err
	}
	return s.fs.syncDir(tmp)
}

// fill adds what is missing in a release's folder. A manifest that is damaged
// is written anew.
func (s *Store) fill(r *Release, meta *Meta) error {
	files := meta.files(r.Manifest.Name)
	if b, err := r.ReadMeta(manifestFile); err != nil || string(b) != string(meta.Manifest) {
		if err := s.fs.replace(r.path+"/"+manifestFile, meta.Manifest, 0o644); err != nil {
			return err
		}
	}
	for _, f := range slices.Sorted(maps.Keys(files)) {
		if _, err := s.root.Lstat(r.path + "/" + f); err == nil {
			continue
		}
		if err := s.fs.replace(r.path+"/"+f, files[f], 0o644); err != nil {
			return err
		}
	}
	if _, err := s.root.Lstat(r.path + "/" + contentDir); err == nil {
		return nil
	}
	if err := s.fs.mkdir(r.path+"/"+contentDir, 0o755); err != nil {
		return err
	}
	return s.fs.syncDir(r.path)
}
