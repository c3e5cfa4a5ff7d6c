package node

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path"
	"strings"

	"golang.org/x/sync/errgroup"
)

// source is what one download or more are found out from: an input, or several
// that are mirrors of one file.
type source struct {
	inputs  []string
	targets []*target
	err     error
}

// sources puts the inputs together: plain URLs of one name are mirrors of one
// file, and all of them are when it is given a name.
func sources(o *FetchOptions) []*source {
	var out []*source
	byName := map[string]*source{}
	for _, in := range o.Inputs {
		if strings.Contains(in, "\t") {
			out = append(out, &source{inputs: strings.Fields(in)})
			continue
		}
		u, err := plainURL(in)
		if err != nil || u == nil {
			out = append(out, &source{inputs: []string{in}})
			continue
		}
		name := o.Output
		if name == "" {
			name = path.Base(u.Path)
		}
		if s := byName[name]; s != nil {
			s.inputs = append(s.inputs, in)
			continue
		}
		byName[name] = &source{inputs: []string{in}}
		out = append(out, byName[name])
	}
	return out
}

// plainURL is the URL of an input that seems to be of content, and nil for other
// inputs.
func plainURL(in string) (*url.URL, error) {
	u, err := url.Parse(in)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || isDocument(u.Path, "") {
		return nil, err
	}
	return u, nil
}

// maxResolving bounds the documents that are asked for at once.
const maxResolving = 8

// resolveAll finds out what the inputs are. Those that cannot be found out have
// an error and do not keep the others from being fetched.
func (w *web) resolveAll(ctx context.Context) []*source {
	all := sources(&w.o)
	var g errgroup.Group
	g.SetLimit(maxResolving)
	for _, s := range all {
		g.Go(func() error {
			if s.targets, s.err = w.resolve(ctx, s.inputs); s.err != nil {
				s.err = fmt.Errorf("%s: %w", shownInput(s.inputs[0]), s.err)
			}
			return nil
		})
	}
	_ = g.Wait()
	return all
}

// resolve finds out what an input is, or several that are mirrors of one file.
func (w *web) resolve(ctx context.Context, in []string) ([]*target, error) {
	if strings.HasPrefix(strings.ToLower(in[0]), "magnet:") {
		return w.magnet(ctx, in[0])
	}
	u, err := url.Parse(in[0])
	if err != nil || u.Scheme == "" || !strings.Contains(in[0], "://") {
		b, err := os.ReadFile(in[0])
		if err != nil {
			return nil, err
		}
		return w.document(ctx, b)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, coded(ExUsage, fmt.Errorf("scheme %q is not one of http and https", u.Scheme))
	}
	if isDocument(u.Path, "") {
		return w.remote(ctx, in[0])
	}
	return w.urls(ctx, in)
}

// remote reads a torrent or a metalink from a server.
func (w *web) remote(ctx context.Context, in string) ([]*target, error) {
	b, err := w.get(ctx, in, maxTorrent)
	if err != nil {
		return nil, coded(ExUnavailable, err)
	}
	return w.document(ctx, b)
}
