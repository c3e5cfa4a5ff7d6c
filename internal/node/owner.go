package node

import (
	"distd/internal/config"
	"distd/internal/store"
)

// setOwner says whom releases belong to, and ends a start that would fail with each
// of them.
func (n *Node) setOwner(cfg *config.Config) error {
	uid, gid, err := cfg.OwnerIDs()
	if err == nil {
		err = n.store.SetOwner(store.Owner{UID: uid, GID: gid})
	}
	if err != nil {
		return &codedError{ExConfig, err}
	}
	return nil
}
