package publish

import (
	"errors"
	"fmt"
	"io/fs"

	"distd/internal/manifest"
	"distd/internal/store"
)

// AddItem makes the mutable item of the channel's newest release where the
// version that published it made none, and says whether it did. A release that
// another key has signed stays as it is.
func AddItem(st *store.Store, key manifest.PrivateKey, channel string) (bool, error) {
	added, err := addItem(st, key, channel)
	if err != nil {
		return false, fmt.Errorf("item of channel %s: %w", channel, err)
	}
	return added, nil
}

func addItem(st *store.Store, key manifest.PrivateKey, channel string) (bool, error) {
	data, sig, _, err := st.Pointer(channel)
	if err != nil {
		return false, err
	}
	p, err := manifest.OpenPointer(key.Public(), data, sig)
	if errors.Is(err, manifest.ErrKey) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	r, err := st.Release(p.Manifest)
	if err != nil {
		return false, err
	}
	if _, err = r.ReadMeta(manifest.ItemFile); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	item, err := manifest.SignItem(key, p)
	if err != nil {
		return false, err
	}
	if data, err = r.ReadMeta("manifest.json"); err != nil {
		return false, err
	}
	_, err = st.Stage(r.Manifest, r.ID, store.Meta{Manifest: data, Item: item.Encode()})
	return err == nil, err
}
