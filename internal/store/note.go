package store

import (
	"fmt"

	"distd/internal/names"
)

// WriteNote keeps data for the node under a name, in one step. Notes are small
// and may be lost without harm.
func (s *Store) WriteNote(name string, data []byte) error {
	if err := names.Element(name); err != nil {
		return fmt.Errorf("note: %w", err)
	}
	return s.fs.replace(ownDir+"/"+name, data, 0o600)
}

// ReadNote returns what WriteNote has kept; fs.ErrNotExist when there is none.
func (s *Store) ReadNote(name string) ([]byte, error) {
	b, err := s.root.ReadFile(ownDir + "/" + name)
	if err != nil {
		return nil, explain("read", s.abs(ownDir+"/"+name), err)
	}
	return b, nil
}
