package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"

	"distd/internal/store"
)

// Verified is what the check of one release found.
type Verified struct {
	Release string `json:"release"`
	Channel string `json:"channel"`
	Serial  uint64 `json:"serial"`
	Name    string `json:"name"`
	// Problems are those that are there now, Repaired those that were.
	Problems []store.Problem `json:"problems"`
	Repaired []store.Problem `json:"repaired,omitempty"`
	// Unrepaired is why not all could be put right.
	Unrepaired string `json:"unrepaired,omitempty"`
}

var errNoSuchRelease = &codedError{ExNoInput, errors.New("there is none")}

// mendFunc repairs what a report names and returns what is left.
type mendFunc func(ctx context.Context, rep *store.Report) (left []store.Problem, err error)

// VerifyReleases checks the content of complete releases in a folder on which no
// daemon runs; without ids, of all. With repair it puts right what needs no
// bytes from elsewhere.
func VerifyReleases(ctx context.Context, st *store.Store, ids []string, repair bool) ([]Verified, error) {
	mend := func(ctx context.Context, rep *store.Report) ([]store.Problem, error) {
		m, err := st.Mend(ctx, rep, nil)
		if err != nil {
			return rep.Problems, err
		}
		if len(m.Left.Bad) > 0 {
			err = errors.New("the rest has to be fetched again, which a running daemon does")
		}
		return m.Left.Problems, err
	}
	if !repair {
		mend = nil
	}
	return verifyReleases(ctx, st, ids, func(*store.Report) {}, mend)
}

func verifyReleases(ctx context.Context, st *store.Store, ids []string, note func(*store.Report), mend mendFunc) ([]Verified, error) {
	rels := st.Releases()
	if len(ids) > 0 {
		rels = nil
	}
	for _, id := range ids {
		rel, err := st.Release(id)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("release %q: %w here; without a name all are verified, and named", id, errNoSuchRelease)
		}
		if err != nil {
			return nil, err
		}
		rels = append(rels, rel)
	}
	out := []Verified{}
	for _, rel := range rels {
		if !rel.Complete {
			continue
		}
		rep, err := st.Check(ctx, rel.ID, store.CheckOptions{})
		if err != nil {
			return nil, err
		}
		note(rep)
		v := Verified{Release: rel.ID, Channel: rel.Manifest.Channel, Serial: rel.Manifest.Serial, Name: rel.Manifest.Name, Problems: rep.Problems}
		if mend != nil && len(rep.Problems) > 0 {
			if v.Problems, err = mend(ctx, rep); err != nil {
				if ctx.Err() != nil {
					return nil, ctx.Err()
				}
				v.Unrepaired = err.Error()
			}
			v.Repaired = without(rep.Problems, v.Problems)
		}
		if v.Problems == nil {
			v.Problems = []store.Problem{}
		}
		out = append(out, v)
	}
	return out, nil
}

// without returns the problems that are not among those left.
func without(all, left []store.Problem) (out []store.Problem) {
	still := map[store.Problem]bool{}
	for _, p := range left {
		still[p] = true
	}
	for _, p := range all {
		if !still[p] {
			out = append(out, p)
		}
	}
	return out
}

func (n *Node) controlVerify(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	var mend mendFunc
	if q.Has("repair") {
		mend = n.scrub.mend
	}
	var out []Verified
	err := n.scrub.foreground(r.Context(), func() (err error) {
		out, err = verifyReleases(r.Context(), n.store, q["release"], n.scrub.note, mend)
		return err
	})
	if err != nil {
		refuse(w, err)
		return
	}
	reply(w, out)
}

// Verify has the daemon check its complete releases, and repair them.
func (c *Control) Verify(ctx context.Context, ids []string, repair bool) ([]Verified, error) {
	var out []Verified
	q := url.Values{"release": ids}
	if repair {
		q.Set("repair", "1")
	}
	err := c.call(ctx, http.MethodPost, "/v1/verify?"+q.Encode(), nil, func(d *json.Decoder) error { return d.Decode(&out) })
	return out, err
}
