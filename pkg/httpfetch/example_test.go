package httpfetch_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"distd/internal/layout"
	"distd/pkg/httpfetch"
)

// memory is a sink for a file without known hashes.
type memory struct {
	lay  *layout.Layout
	data []byte
	next int
	left chan struct{} // holds a token for each piece that is missing
	done chan struct{}
}

func (m *memory) Layout() *layout.Layout { return m.lay }

func (m *memory) Claim(_ string, _ int) (first, n int) {
	n = m.lay.NumPieces() - m.next
	m.next = m.lay.NumPieces()
	return 0, n
}

func (m *memory) Unclaim(int, int) {}

func (m *memory) Deliver(_ context.Context, _ string, piece int, data []byte) error {
	copy(m.data[m.lay.PieceOffset(piece):], data)
	<-m.left
	if len(m.left) == 0 {
		close(m.done)
	}
	return nil
}

func (m *memory) Done() <-chan struct{}    { return m.done }
func (m *memory) Changed() <-chan struct{} { return nil }

// A file is asked for by name first, and then fetched by ranges.
func Example() {
	content := bytes.Repeat([]byte("distd "), 10_000)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		http.ServeContent(w, r, "file", time.Time{}, bytes.NewReader(content))
	}))
	defer srv.Close()

	ctx := context.Background()
	client := httpfetch.NewClient(httpfetch.ClientConfig{})
	defer func() { _ = client.Close() }()
	info, err := httpfetch.Probe(ctx, client, srv.URL+"/file")
	if err != nil {
		fmt.Println(err)
		return
	}
	lay, err := layout.New(60_000, []layout.File{{Path: "file", Length: info.Length}})
	if err != nil {
		fmt.Println(err)
		return
	}
	m := &memory{lay: lay, data: make([]byte, info.Length), left: make(chan struct{}, 1), done: make(chan struct{})}
	m.left <- struct{}{}
	f, err := httpfetch.New(httpfetch.Config{
		Sink: m, Client: client, GiveUp: true,
		Mirrors: []httpfetch.Mirror{{URL: srv.URL + "/file", ETag: info.ETag, NoRanges: !info.Ranges}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(f.Run(ctx), info.Length, bytes.Equal(m.data, content))
	// Output: <nil> 60000 true
}
