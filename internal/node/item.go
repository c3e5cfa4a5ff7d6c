package node

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/manifest"
	"distd/internal/publish"
)

// itemWait is the time that an upstream has for an item: it is an extra, which
// must not hold a release up.
const itemWait = 10 * time.Second

// item gets the mutable item of the release that p points at, so that this node
// can put it into the zone's DHT too. Without a good one the release is taken
// all the same.
func (f *follower) item(ctx context.Context, key manifest.PublicKey, p *manifest.Pointer) []byte {
	ctx, cancel := context.WithTimeout(ctx, itemWait)
	defer cancel()
	data, err := f.client.Meta(ctx, p.Manifest, manifest.ItemFile, manifest.MaxItem)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(ctx.Err(), context.Canceled) {
		return nil // its publisher made none; or the release is not to be had
	}
	var i *manifest.Item
	if err == nil {
		i, err = manifest.OpenItem(key, data)
	}
	if err == nil {
		err = i.Matches(p)
	}
	if err != nil {
		f.log.Warn("the release's item for the DHT is left out; the release is taken without", zap.String("channel", p.Channel), zap.Uint64("serial", p.Serial), zap.Error(err))
		return nil
	}
	return data
}

// addItems gives the newest releases of a master's channels the items that an
// older version did not make.
func (n *Node) addItems() {
	if n.role != config.RoleMaster {
		return
	}
	for _, channel := range n.store.Channels() {
		switch added, err := publish.AddItem(n.store, n.signing, channel); {
		case err != nil:
			n.log.Warn("the newest release of the channel has no item for the DHT", zap.String("channel", channel), zap.Error(err))
		case added:
			n.log.Info("made the newest release's item for the DHT", zap.String("channel", channel))
		}
	}
}
