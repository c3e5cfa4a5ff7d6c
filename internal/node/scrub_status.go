package node

import "time"

// ScrubStatus is how far the releases have been compared with their manifests in
// the background.
type ScrubStatus struct {
	Running  bool      `json:"running"`
	Release  string    `json:"release,omitempty"` // that is read now
	Piece    int       `json:"piece,omitempty"`   // of it
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"` // the last pass; zero before the first
	Next     time.Time `json:"next,omitzero"`     // zero: never, or it runs
}

// describe fills in what the scrubber knows.
func (s *scrubber) describe(st *Status) {
	every := s.node.cfg.Load().Scrub
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &st.Scrub
	c.Running, c.Release, c.Piece, c.Started = !s.state.Started.IsZero() && every > 0, s.state.Release, s.state.Piece, s.state.Started
	if s.state.Passes > 0 {
		c.Finished = s.state.Finished
	}
	if every > 0 && !c.Running {
		c.Next = s.state.Finished.Add(every)
	}
	for i := range st.Releases {
		r := &st.Releases[i]
		found := s.state.Found[r.ID]
		r.Damaged, r.Damages = len(found), found[:min(len(found), 10)]
	}
}
