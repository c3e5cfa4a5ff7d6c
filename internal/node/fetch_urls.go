package node

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"distd/internal/names"
	"distd/pkg/httpfetch"
	"distd/pkg/metalink"
)

// urls is the download of a file that one URL or more name. A single one may
// turn out to be a torrent or a metalink by its type.
func (w *web) urls(ctx context.Context, in []string) ([]*target, error) {
	// The connections that the download will want are made while the server is
	// asked what it has.
	w.mirrors.Warm(in[0], warmConns)
	infos, err := w.probe(ctx, in)
	if err != nil {
		return nil, coded(ExUnavailable, err)
	}
	if len(in) == 1 && isDocument("", infos[0].ContentType) {
		return w.remote(ctx, in[0])
	}
	t, err := w.plain(ctx, in, infos)
	if err != nil {
		return nil, err
	}
	return []*target{t}, nil
}

// probe asks all servers. One that does not answer, or answers that it has
// something else, is left out as long as another does: its info has no URL.
func (w *web) probe(ctx context.Context, in []string) ([]httpfetch.Info, error) {
	infos, errs := make([]httpfetch.Info, len(in)), make([]error, len(in))
	var g errgroup.Group
	for i, u := range in {
		g.Go(func() error {
			infos[i], errs[i] = httpfetch.Probe(ctx, w.mirrors, u)
			return nil
		})
	}
	_ = g.Wait()
	if !slices.Contains(errs, nil) {
		return nil, errors.Join(errs...)
	}
	for i, err := range errs {
		if err != nil {
			w.o.Log.Warn("going on without a mirror", zap.String("url", shownInput(in[i])), zap.Error(err))
		}
	}
	return infos, nil
}

// plain is the download of bare URLs of one file.
func (w *web) plain(ctx context.Context, in []string, infos []httpfetch.Info) (*target, error) {
	t := &target{hashes: map[string]string{}}
	maps.Copy(t.hashes, w.o.Checksum)
	id, size, first := sha256.New(), int64(-1), -1
	for i, info := range infos {
		if info.FinalURL == "" {
			continue // it did not answer
		}
		if info.Length < 0 {
			return nil, &codedError{ExProtocol, fmt.Errorf("%s: the server does not say how long the file is, so that a part of it could pass for the whole", shownInput(in[i]))}
		}
		if first < 0 {
			first, size = i, info.Length
		}
		if info.Length != size {
			return nil, &codedError{ExDataErr, fmt.Errorf("%s has %d bytes, and %s has %d: they are not the same file", shownInput(in[first]), size, shownInput(in[i]), info.Length)}
		}
		if err := t.addHashes(info.Digest); err != nil {
			return nil, &codedError{ExDataErr, fmt.Errorf("%s: %w", shownInput(in[i]), err)}
		}
		t.mirrors = append(t.mirrors, httpfetch.Mirror{URL: in[i], FileURL: func(string) string { return in[i] }, NoRanges: !info.Ranges, ETag: info.ETag, LastModified: info.LastModified})
		_, _ = fmt.Fprintf(id, "%s %d %s %s\n", in[i], info.Length, info.ETag, info.LastModified)
	}
	if err := t.setName(w.o.Output, in[first]); err != nil {
		return nil, err
	}
	pieceLength := int64(urlPiece)
	if len(infos[first].Digest) > 0 {
		// Only a digest of the whole makes other servers' bytes the same file's.
		if p := w.advertised(ctx, t, &infos[first]); p != nil {
			pieceLength = p.Length
			_, _ = fmt.Fprintf(id, "%v\n", p)
		}
	}
	return t, t.cut(size, pieceLength, hex.EncodeToString(id.Sum(nil)))
}

// addHashes takes over what a server says of the whole file.
func (t *target) addHashes(digest map[string]string) error {
	for name, sum := range digest {
		if old, ok := t.hashes[name]; ok && old != sum {
			return fmt.Errorf("its %s is %s, not %s", name, sum, old)
		}
		t.hashes[name] = sum
	}
	return nil
}

// setName names the file as the operator wants, or as the URL does.
func (t *target) setName(output, in string) error {
	if t.name = output; t.name != "" {
		top, _, _ := strings.Cut(output, "/")
		return coded(ExUsage, errors.Join(names.ReleaseName(top), names.Path(output)))
	}
	u, err := url.Parse(in)
	if err != nil {
		return err
	}
	if t.name = path.Base(u.Path); t.name == "." || t.name == "/" {
		t.name = "index.html"
	}
	return names.ReleaseName(t.name)
}

// advertised takes over what the server's headers say (RFC 6249): mirrors, which
// are used when the given ones fail, and the hashes of the pieces from a
// metalink. It returns the latter, nil when there are none.
func (w *web) advertised(ctx context.Context, t *target, info *httpfetch.Info) *metalink.Pieces {
	links := slices.Clone(info.Links)
	slices.SortStableFunc(links, func(a, b httpfetch.Link) int { return cmp.Compare(a.Pri, b.Pri) })
	var more []httpfetch.Mirror
	tier, last := 0, -1
	for _, l := range links {
		if l.Rel != "duplicate" || slices.ContainsFunc(t.mirrors, func(m httpfetch.Mirror) bool { return m.URL == l.URL }) {
			continue
		}
		if l.Pri != last {
			tier, last = tier+1, l.Pri
		}
		more = append(more, httpfetch.Mirror{URL: l.URL, FileURL: func(string) string { return l.URL }, Tier: tier, Location: l.Geo})
	}
	more, _ = allow(more, w.o.Locations) // the given URLs are left in any case
	t.mirrors = append(t.mirrors, more...)
	if !w.o.Check && t.hosts() < 2 {
		// From one server the digest of the whole says all that there is to say,
		// and over a long link the hashes of the pieces would be waited for as long
		// as for some megabytes of the file.
		return nil
	}
	for _, l := range links {
		if l.Rel != "describedby" || !strings.HasPrefix(l.Type, metalink.TypeV4) {
			continue
		}
		p, err := w.described(ctx, t, l.URL, info)
		if err == nil {
			return p
		}
		w.o.Log.Info("going on without the server's metalink", zap.String("url", l.URL), zap.Error(err))
	}
	return nil
}

// hosts is how many servers the mirrors are on.
func (t *target) hosts() int {
	hosts := map[string]bool{}
	for _, m := range t.mirrors {
		if u, err := url.Parse(m.URL); err == nil {
			hosts[u.Host] = true
		}
	}
	return len(hosts)
}

// describedGrace is how long the metalink that a server names is waited for.
const describedGrace = 10 * time.Second

// described has the pieces of a file checked by the hashes of a metalink that has
// a file of the same digest.
func (w *web) described(ctx context.Context, t *target, u string, info *httpfetch.Info) (*metalink.Pieces, error) {
	ctx, cancel := context.WithTimeout(ctx, describedGrace)
	defer cancel()
	b, err := w.get(ctx, u, metalink.MaxSize)
	if err != nil {
		return nil, err
	}
	doc, err := metalink.Parse(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	for _, f := range doc.Files {
		if f.Pieces == nil || f.Size != info.Length || !sameHash(f.Hashes, t.hashes) {
			continue
		}
		t.verify, err = pieceVerifier(f.Pieces)
		return f.Pieces, err
	}
	return nil, errors.New("it has no hashes of this file's pieces")
}

// sameHash says whether two sets of hashes have the strong one in common.
func sameHash(a, b map[string]string) bool {
	for _, name := range []string{"sha-512", "sha-256"} {
		if a[name] != "" && a[name] == b[name] {
			return true
		}
	}
	return false
}
