package bucket

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"distd/internal/manifest"
	"distd/internal/publish"
	"distd/internal/shrink"
	"distd/pkg/torrentfile"
)

// Release is a complete release in a node's folder, and what the bucket shall
// have of it.
type Release struct {
	ID       string
	Manifest *manifest.Manifest
	Magnet   string // the link to it in the bucket
	key      manifest.PublicKey
	dir      string // releases/ID of the node

	pointer, pointerSig   []byte
	manifest, manifestSig []byte
	docs                  []document
	packs                 []packFile
}

// document is a file beside the content that this package makes or reads whole.
type document struct {
	name string
	data []byte
}

// OpenRelease reads the newest release of a channel from a node's folder, and
// fails with ErrConflict when it is not the one with the ID. Everything is
// verified with key. Torrent and metalinks are written for the address base, or
// are the folder's own when it is "".
func OpenRelease(dir, channel, id string, key manifest.PublicKey, base string) (*Release, error) {
	r, err := openRelease(filepath.Join(dir, ".distd"), channel, id, key)
	if err == nil {
		err = r.readDocuments(base)
	}
	if err == nil {
		err = r.addMagnet(base)
	}
	if err == nil {
		err = r.readItem()
	}
	if err == nil {
		err = r.readPacks()
	}
	if err != nil {
		return nil, fmt.Errorf("release %s of channel %s in %s: %w", id, channel, dir, err)
	}
	return r, nil
}

func openRelease(own, channel, id string, key manifest.PublicKey) (*Release, error) {
	r := &Release{ID: id, key: key, dir: filepath.Join(own, "releases", id)}
	pointer := filepath.Join(own, "channels", channel, pointerName)
	for file, to := range map[string]*[]byte{
		pointer:                            &r.pointer,
		pointer + sigSuffix:                &r.pointerSig,
		filepath.Join(r.dir, manifestName): &r.manifest,
		filepath.Join(r.dir, manifestName+sigSuffix): &r.manifestSig,
	} {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		*to = b
	}
	p, err := manifest.OpenPointer(key, r.pointer, r.pointerSig)
	if err != nil {
		return nil, err
	}
	if p.Manifest != id {
		return nil, fmt.Errorf("%w: release %d was published after it: publish again", ErrConflict, p.Serial)
	}
	m, got, err := manifest.Open(key, r.manifest, r.manifestSig)
	if err != nil {
		return nil, err
	}
	r.Manifest = m
	return r, p.Matches(m, got)
}

func (r *Release) readDocuments(base string) error {
	name := r.Manifest.Name
	torrent, err := os.ReadFile(filepath.Join(r.dir, name+".torrent"))
	if err != nil {
		return err
	}
	if base == "" {
		r.docs = []document{{name + ".torrent", torrent}}
		for _, file := range []string{name + ".metalink", name + ".meta4", "SHA256SUMS"} {
			b, err := os.ReadFile(filepath.Join(r.dir, file))
			switch {
			case err == nil:
				r.docs = append(r.docs, document{file, b})
			case !errors.Is(err, fs.ErrNotExist): // a very large tree has no metalinks
				return err
			}
		}
		return nil
	}
	meta, err := publish.RenderFor(r.Manifest, torrent, r.manifest, r.manifestSig, base)
	if err != nil {
		return err
	}
	r.docs = []document{{name + ".torrent", meta.Torrent}, {"SHA256SUMS", meta.Sums}}
	if meta.Metalink != nil {
		r.docs = append(r.docs, document{name + ".metalink", meta.Metalink}, document{name + ".meta4", meta.Meta4})
	}
	return nil
}

// addMagnet adds the magnet link of the torrent, which is the first document.
func (r *Release) addMagnet(base string) error {
	t, err := torrentfile.Parse(r.docs[0].data)
	if err != nil {
		return err
	}
	r.Magnet = publish.Magnet(t, r.Manifest, r.ID, base)
	r.docs = append(r.docs, document{r.Manifest.Name + ".magnet", []byte(r.Magnet + "\n")})
	return r.addShort(t.InfoBytes)
}

// addShort adds the packed forms of the manifest and of the torrent's info
// dictionary. A bucket cannot make the differences between releases.
func (r *Release) addShort(info []byte) error {
	for _, d := range []document{{manifest.ManifestDocument, r.manifest}, {manifest.InfoDocument, info}} {
		b, err := shrink.Pack(d.data, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		r.docs = append(r.docs, document{manifest.ShortName(d.name, ""), b})
	}
	return nil
}

// readItem adds the channel's item, if the version that published the release
// has made one.
func (r *Release) readItem() error {
	path := filepath.Join(r.dir, manifest.ItemFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	i, err := manifest.OpenItem(r.key, data)
	if err == nil {
		err = i.Matches(r.Manifest.Pointer(r.ID))
	}
	if err != nil {
		return fmt.Errorf("%s is damaged: remove it, it is made again when a master starts: %w", path, err)
	}
	r.docs = append(r.docs, document{manifest.ItemFile, data})
	return nil
}

// Values of Cache-Control: as a master's.
const (
	cacheForever = "public, max-age=31536000, immutable"
	cacheCheck   = "no-cache"
)

const (
	typeText  = "text/plain; charset=utf-8"
	typeBytes = "application/octet-stream"
)

// contentType is the media type of a file of the tree outside content/, as a
// master gives it.
func contentType(file string) string {
	switch path.Ext(file) {
	case ".torrent":
		return "application/x-bittorrent"
	case ".metalink":
		return "application/metalink+xml"
	case ".meta4":
		return "application/metalink4+xml"
	case ".json":
		return "application/json"
	case ".zst":
		return "application/zstd"
	case path.Ext(manifest.ItemFile):
		return typeBytes
	}
	return typeText
}

// mediaType is that of a file of the content.
func mediaType(name string) string {
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t
	}
	return typeBytes
}

// item is an object that is to be in the bucket: a file of the release's
// folder, or data.
type item struct {
	key  string
	head Head
	size int64
	path string // of the file below the release's folder; "" for data
	data []byte
}

func (i item) sum() string { return i.head.Meta[metaSum] }

func dataItem(key, ctype, cache string, data []byte) item {
	sum := sha256.Sum256(data)
	return item{key: key, data: data, size: int64(len(data)),
		head: Head{ContentType: ctype, CacheControl: cache, Meta: map[string]string{metaSum: hex.EncodeToString(sum[:])}}}
}

// items are the objects of the release below releases/ID/, without the manifest
// and its signature.
func (c *Channel) items(r *Release) []item {
	var out []item
	for _, d := range r.docs {
		out = append(out, dataItem(c.release(r.ID, d.name), contentType(d.name), cacheForever, d.data))
	}
	out = append(out, c.packItems(r)...)
	for _, f := range r.Manifest.Files {
		if f.Symlink != "" {
			continue
		}
		file := "content/" + r.Manifest.ContentPath(f.Path)
		out = append(out, item{key: c.release(r.ID, file), path: file, size: f.Size,
			head: Head{ContentType: mediaType(f.Path), CacheControl: cacheForever, Meta: map[string]string{metaSum: f.SHA256}}})
	}
	return out
}

// manifestItem is the first object of a release, by which one that was not
// finished is known again; signatureItem is the last.
func (c *Channel) manifestItem(r *Release) item {
	i := dataItem(c.release(r.ID, manifestName), contentType(manifestName), cacheForever, r.manifest)
	i.head.Meta[metaChannel], i.head.Meta[metaSerial] = c.name, strconv.FormatUint(r.Manifest.Serial, 10)
	return i
}

func (c *Channel) signatureItem(r *Release) item {
	return dataItem(c.release(r.ID, manifestName+sigSuffix), typeText, cacheForever, r.manifestSig)
}

// named are the objects with the release's plain names, and gone the names of
// those that it does not have.
func (c *Channel) named(r *Release) (out []item, gone []string) {
	for _, suffix := range []string{".torrent", ".magnet", ".metalink", ".meta4"} {
		file := r.Manifest.Name + suffix
		found := false
		for _, d := range r.docs {
			if d.name == file {
				found = true
				out = append(out, dataItem(c.at(file), contentType(file), cacheCheck, d.data))
			}
		}
		if !found {
			gone = append(gone, c.at(file))
		}
	}
	return out, gone
}

// maxObjectKey is how long an object's key may be, in bytes.
const maxObjectKey = 1024

func checkKeys(items []item) error {
	for _, i := range items {
		if len(i.key) > maxObjectKey {
			return fmt.Errorf("%w: the object's key %.100q... has %d bytes, S3 takes %d", manifest.ErrMalformed, i.key, len(i.key), maxObjectKey)
		}
	}
	return nil
}
