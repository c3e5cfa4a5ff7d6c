package bucket

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// packFile is a delta pack in the release's folder.
type packFile struct {
	name string // below that folder
	size int64
	sum  string // SHA-256 in hex
}

// readPacks looks at the delta packs that the manifest lists, and reads their
// torrents. It hashes the packs: the manifest has the sums of their pieces only.
func (r *Release) readPacks() error {
	for i := range r.Manifest.Deltas {
		d := &r.Manifest.Deltas[i]
		p := packFile{name: "delta/" + d.Base, size: d.Size}
		torrent, err := os.ReadFile(filepath.Join(r.dir, p.name+".torrent"))
		if err == nil {
			p.sum, err = sumOf(filepath.Join(r.dir, p.name), d.Size)
		}
		if err != nil {
			return fmt.Errorf("delta pack from %s: %w", d.Base, err)
		}
		r.docs = append(r.docs, document{p.name + ".torrent", torrent})
		r.packs = append(r.packs, p)
	}
	return nil
}

func sumOf(file string, size int64) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // it was only read
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(f, size+1))
	if err == nil && n != size {
		err = fmt.Errorf("%s: %w: it does not have %d bytes", file, ErrChanged, size)
	}
	return hex.EncodeToString(h.Sum(nil)), err
}

func (c *Channel) packItems(r *Release) []item {
	var out []item
	for _, p := range r.packs {
		out = append(out, item{key: c.release(r.ID, p.name), path: p.name, size: p.size,
			head: Head{ContentType: "application/octet-stream", CacheControl: cacheForever, Meta: map[string]string{metaSum: p.sum}}})
	}
	return out
}
