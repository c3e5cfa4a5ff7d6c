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
	Release  string          `json:"release"`
	Channel  string          `json:"channel"`
	Serial   uint64          `json:"serial"`
	Name     string          `json:"name"`
	Problems []store.Problem `json:"problems"`
}

var errNoSuchRelease = &codedError{ExNoInput, errors.New("there is none")}

// VerifyReleases checks the content of complete releases against their
// manifests; without ids, of all.
func VerifyReleases(ctx context.Context, st *store.Store, ids []string) ([]Verified, error) {
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
		problems, err := st.Verify(ctx, rel.ID, nil)
		if err != nil {
			return nil, err
		}
		if problems == nil {
			problems = []store.Problem{}
		}
		out = append(out, Verified{rel.ID, rel.Manifest.Channel, rel.Manifest.Serial, rel.Manifest.Name, problems})
	}
	return out, nil
}

func (n *Node) controlVerify(w http.ResponseWriter, r *http.Request) {
	out, err := VerifyReleases(r.Context(), n.store, r.URL.Query()["release"])
	if err != nil {
		refuse(w, err)
		return
	}
	reply(w, out)
}

// Verify has the daemon check its complete releases.
func (c *Control) Verify(ctx context.Context, ids []string) ([]Verified, error) {
	var out []Verified
	q := url.Values{"release": ids}
	err := c.call(ctx, http.MethodPost, "/v1/verify?"+q.Encode(), nil, func(d *json.Decoder) error { return d.Decode(&out) })
	return out, err
}
