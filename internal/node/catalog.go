package node

import (
	"io/fs"

	"distd/internal/config"
	"distd/internal/manifest"
	"distd/internal/serve"
	"distd/internal/store"
)

// catalog shows the node's store to its HTTP server.
type catalog struct{ node *Node }

func (c *catalog) Channels() []string { return c.node.store.Channels() }

func (c *catalog) Pointer(channel string) (data, sig []byte, err error) {
	data, sig, _, err = c.node.store.Pointer(channel)
	return data, sig, err
}

func (c *catalog) Release(id string) (*serve.Release, error) {
	rel, err := c.node.store.Release(id)
	if err != nil {
		return nil, err
	}
	return c.served(rel), nil
}

func (c *catalog) Named(name string) (*serve.Release, error) {
	rel, ok := c.node.store.Named(name)
	if !ok {
		return nil, fs.ErrNotExist
	}
	return c.served(rel), nil
}

func (c *catalog) served(rel *store.Release) *serve.Release {
	return &serve.Release{ID: rel.ID, Manifest: rel.Manifest, Dir: rel.Dir, Complete: rel.Complete,
		NoPack: func(base string) bool { return c.node.releases.noPack(rel.ID, base) }}
}

// PublicKey is the key that this node's releases are signed with: its own on a
// master, elsewhere the configured or pinned one.
func (c *catalog) PublicKey() []byte {
	n := c.node
	if n.role == config.RoleMaster {
		return n.signing.Public().File()
	}
	if file := n.cfg.Load().Key; file != "" {
		key, err := manifest.LoadPublicKey(file)
		if err != nil {
			return nil
		}
		return key.File()
	}
	for _, channel := range n.store.Channels() {
		if text, ok := n.store.PinnedKey(channel); ok {
			if key, err := manifest.ParsePublicKey(text); err == nil {
				return key.File()
			}
		}
	}
	return nil
}
