package demo

import (
	"context"
	"fmt"
	"net/url"

	"github.com/jedib0t/go-pretty/v6/table"
)

// longLinks prints what each mirror gave to each datacenter's seed, and returns
// what is not as it should be.
func (f *farm) longLinks(ctx context.Context, n int, serial uint64) (problems []error, err error) {
	t := table.NewWriter()
	t.SetOutputMirror(f.Out)
	t.SetStyle(table.StyleLight)
	t.SetTitle("Release %d over the long links", n)
	t.AppendHeader(table.Row{"datacenter", "copies", "mirror", "location", "tier", "MiB", "MiB wasted", "requests", "errors", "MiB sent by the seed"})
	mib := func(b int64) string { return fmt.Sprintf("%.1f", float64(b)/(1<<20)) }
	for _, m := range f.seeds {
		r, err := m.release(ctx, serial)
		if err != nil {
			return nil, err
		}
		copies := float64(r.FromMirrors) / float64(max(r.Size, 1))
		if copies > 1.05 {
			problems = append(problems, fmt.Errorf("datacenter %d fetched %.3f copies", m.dc, copies))
		}
		came := int64(0)
		for _, mirror := range r.Mirrors {
			came += mirror.Bytes
			t.AppendRow(table.Row{m.dc, fmt.Sprintf("%.3f", copies), place(mirror.URL), mirror.Location, mirror.Tier,
				mib(mirror.Bytes), mib(mirror.Wasted), mirror.Requests, mirror.Errors, mib(r.Uploaded)})
		}
		// A delta pack is no mirror's: a small one comes with the release's documents.
		if came+r.Delta < r.FromMirrors {
			problems = append(problems, fmt.Errorf("datacenter %d: mirrors gave %d bytes, of which %d were counted", m.dc, r.FromMirrors, came+r.Delta))
		}
	}
	t.Render()
	return problems, nil
}

// place is the server of a mirror's URL, which has the release's ID in it.
func place(mirror string) string {
	u, err := url.Parse(mirror)
	if err != nil {
		return mirror
	}
	return u.Scheme + "://" + u.Host
}
