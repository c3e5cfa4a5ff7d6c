package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/dustin/go-humanize"
	"go.uber.org/zap"

	"distd/internal/store"
)

// scrubState is what the scrubber remembers over a restart.
type scrubState struct {
	Finished time.Time `json:"finished"` // end of the last pass; at first when the node began
	Passes   int       `json:"passes"`
	Started  time.Time `json:"started,omitzero"` // of the pass under way
	Done     []string  `json:"done,omitempty"`   // releases that it has checked
	Release  string    `json:"release,omitempty"`
	Piece    int       `json:"piece,omitempty"` // the next one of Release
	Bad      []int     `json:"bad,omitempty"`   // those before it that are bad
	Mended   time.Time `json:"mended,omitzero"` // when what was found was last put right, as far as could be
	// Found are the problems that are known, by release.
	Found map[string][]store.Problem `json:"found,omitempty"`
}

// load reads the state. Without one the first pass begins after one interval.
func (s *scrubber) load() {
	data, err := s.node.store.ReadNote(scrubNote)
	if err == nil {
		err = json.Unmarshal(data, &s.state)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("it is not known how far the releases were compared with their manifests: beginning anew", zap.Error(err))
		}
		s.state = scrubState{Finished: time.Now().UTC().Truncate(time.Second)}
	}
	if s.state.Found == nil {
		s.state.Found = map[string][]store.Problem{}
	}
	if err != nil {
		s.save()
	}
}

// scrubNote is the name of the state's file.
const scrubNote = "scrub.json"

// save writes the state. One that cannot be written costs repeating a part of a pass.
func (s *scrubber) save() {
	s.mu.Lock()
	s.saved = time.Now()
	data, err := json.Marshal(&s.state)
	s.mu.Unlock()
	if err == nil {
		err = s.node.store.WriteNote(scrubNote, data)
	}
	if err != nil {
		s.log.Warn("cannot remember how far the releases were compared with their manifests", zap.Error(err))
	}
}

// note makes known what a check has found: in the log, in the status, and to the
// swarm, which does not offer pieces that are bad.
func (s *scrubber) note(rep *store.Report) {
	s.mu.Lock()
	old := s.state.Found[rep.ID]
	s.remember(rep.ID, rep.Problems)
	s.mu.Unlock()
	log := s.log
	var infohash string
	if r, err := s.node.store.Release(rep.ID); err == nil {
		infohash = r.Manifest.InfoHash
		log = log.With(zap.String("channel", r.Manifest.Channel), zap.Uint64("serial", r.Manifest.Serial), zap.String("name", r.Manifest.Name))
	}
	for i, p := range rep.Problems {
		if i == maxLogged {
			log.Error("more differs from the manifest", zap.Int("entries", len(rep.Problems)-i))
			break
		}
		log.Error("differs from the manifest", zap.String("path", p.Path), zap.String("kind", p.Kind), zap.String("detail", p.Detail))
	}
	switch {
	case len(rep.Bad) > 0:
		s.doubt(infohash, rep.Bad)
	case len(old) > 0 && len(rep.Problems) == 0:
		log.Info("is as the manifest says again")
	}
}

// remember keeps the problems of a release. The caller holds s.mu.
func (s *scrubber) remember(id string, problems []store.Problem) {
	if len(problems) == 0 {
		delete(s.state.Found, id)
		return
	}
	s.state.Found[id] = slices.Clone(problems[:min(len(problems), maxRemembers)])
}

// doubt tells the swarm of pieces that are bad here.
func (s *scrubber) doubt(infohash string, bad []int) {
	for _, j := range s.node.releases.list() {
		if j.m.InfoHash != infohash {
			continue
		}
		j.mu.Lock()
		tor := j.torrent
		j.mu.Unlock()
		if tor != nil {
			tor.Doubt(bad, errDamaged)
		}
	}
}

// errDamaged is why pieces are doubted.
var errDamaged = errors.New("bytes on the disk are not those of the manifest")

// mendFound checks the releases with known problems again, and repairs them.
func (s *scrubber) mendFound(ctx context.Context) {
	s.mu.Lock()
	ids := slices.Sorted(maps.Keys(s.state.Found))
	s.state.Mended = time.Now().UTC().Truncate(time.Second)
	s.mu.Unlock()
	s.save()
	for _, id := range ids {
		err := s.background(ctx, func(inner context.Context) error {
			rep, err := s.node.store.Check(inner, id, store.CheckOptions{Pace: s.pacer()})
			if err != nil {
				return err
			}
			s.note(rep)
			return s.mendIfWanted(inner, rep)
		})
		if err != nil && ctx.Err() == nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("release is not repaired yet", zap.String("release", id), zap.Error(err))
		}
	}
	s.save()
}

func (s *scrubber) mendIfWanted(ctx context.Context, rep *store.Report) error {
	if len(rep.Problems) == 0 || !s.node.cfg.Load().ScrubRepair {
		return nil
	}
	s.mu.Lock()
	s.state.Mended = time.Now().UTC().Truncate(time.Second)
	s.mu.Unlock()
	left, err := s.mend(ctx, rep)
	if err != nil && ctx.Err() == nil {
		s.log.Warn("not all could be repaired; it is tried again", zap.String("release", rep.ID), zap.Int("entries", len(left)), zap.Duration("again_in", mendAgain), zap.Error(err))
		return nil
	}
	return err
}

// mend puts right what a check has found: with what is here, then with pieces from
// the swarm or the mirrors. It returns what it could not, which is no error.
func (s *scrubber) mend(ctx context.Context, rep *store.Report) (left []store.Problem, err error) {
	n := s.node
	m, err := n.store.Mend(ctx, rep, nil)
	if err != nil {
		return rep.Problems, err
	}
	s.mended(rep.ID, m)
	if len(m.Left.Bad) > 0 && n.engine != nil {
		if m, err = s.mendFromSwarm(ctx, m); err != nil {
			return m.Left.Problems, err
		}
	} else if len(m.Left.Bad) > 0 {
		err = errNoPeers
	}
	return m.Left.Problems, err
}

// errNoPeers says that a node cannot fetch.
var errNoPeers = errors.New("this node has no peers to fetch damaged pieces from (peer_listen): publish the content anew")

// mendFromSwarm fetches what m has left.
func (s *scrubber) mendFromSwarm(ctx context.Context, m *store.Mended) (*store.Mended, error) {
	n, id := s.node, m.Left.ID
	p, err := n.store.OpenPatches(id, m.Left.Bad)
	if err != nil {
		return m, err
	}
	var total int64
	if r, err := n.store.Release(id); err == nil {
		total = int64(len(p.Missing())) * r.Manifest.PieceLength
	}
	s.log.Info("fetching damaged pieces again", zap.String("release", id), zap.Int("pieces", len(p.Missing())), zap.String("at_most", humanize.IBytes(uint64(total))))
	next := m
	if len(p.Missing()) > 0 {
		err = n.releases.refetch(ctx, id, p, stuckFor)
	}
	if err == nil {
		next, err = n.store.Mend(ctx, &m.Left, func(i int, buf []byte) error { return p.ReadAt(buf, i, 0) })
	}
	if err == nil {
		s.mended(id, next)
	} else {
		next = m
	}
	// Also after an error: as it was, with what is damaged held back.
	again := context.WithoutCancel(ctx)
	if rerr := n.releases.restart(again, id); rerr != nil {
		return next, errors.Join(err, fmt.Errorf("release %s: %w", id, rerr))
	}
	if err != nil {
		if r, rerr := n.store.Release(id); rerr == nil {
			s.doubt(r.Manifest.InfoHash, m.Left.Bad)
		}
		return next, err
	}
	return next, p.Remove()
}

// mended tells of what a repair has done, and has the swarm read the new files.
func (s *scrubber) mended(id string, m *store.Mended) {
	n := s.node
	s.mu.Lock()
	s.remember(id, m.Left.Problems)
	for other := range m.Files {
		if other != id {
			delete(s.state.Found, other) // what it has besides, the next check finds
		}
	}
	s.mu.Unlock()
	s.save()
	s.repaired.Add(int64(len(m.Fixed)))
	for i, p := range m.Fixed {
		if i == maxLogged {
			s.log.Warn("more was repaired", zap.Int("entries", len(m.Fixed)-i))
			break
		}
		s.log.Warn("repaired; no hook is run for that", zap.String("release", id), zap.String("path", p.Path), zap.String("kind", p.Kind))
	}
	for _, j := range n.releases.list() {
		j.mu.Lock()
		tor, ps := j.torrent, j.pieces
		j.mu.Unlock()
		if m.Files[j.id] > 0 && tor != nil {
			ps.Reopen()
			tor.Recheck()
		}
	}
	for other := range m.Files {
		if n.engine != nil && other != id { // its job may have been ended as that of a damaged release
			n.releases.want(context.Background(), other)
		}
	}
}
