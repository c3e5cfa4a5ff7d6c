package bttrack

import (
	"bytes"
	_ "embed"
	"encoding/hex"
	"html/template"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"
	"go.uber.org/zap"

	"distd/pkg/torrentfile"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// pageData is what the page shows.
type pageData struct {
	Version, Time    string
	Icon, Names, Get bool
	Rows             []pageRow
	Total            pageRow
}

type pageRow struct {
	Hash, Query, Name, Size           string
	Complete, Downloading, Downloaded int
}

// alas is what bttrack said where there was nothing.
const alas = "your file may exist elsewhere in the universe\nbut alas, not here\n"

// handler answers what is not announced or scraped.
func (t *Tracker) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		switch {
		case err != nil || !t.admit(from.Addr().WithZone("").Unmap()):
			plain(w, http.StatusBadRequest, "d14:failure reason38:your IP is not allowed on this trackere")
			return
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			plain(w, http.StatusMethodNotAllowed, "trackers are asked by GET\n")
			return
		}
		switch r.URL.Path {
		case "/", "/index.html":
			t.infoPage(w)
		case "/file":
			t.file(w, r)
		case "/favicon.ico":
			t.icon(w)
		case "/announce", "/announce.php", "/tracker.php/announce", "/scrape", "/scrape.php", "/tracker.php/scrape":
			t.server.ServeHTTP(w, r)
		default:
			plain(w, http.StatusNotFound, alas)
		}
	})
}

// plain answers with a text.
func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Pragma", "no-cache")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // a client that has gone is no concern of ours
}

func (t *Tracker) infoPage(w http.ResponseWriter) {
	switch {
	case !t.opts.InfoPage:
		plain(w, http.StatusNotFound, alas)
		return
	case t.opts.Redirect != "":
		w.Header().Set("Location", t.opts.Redirect)
		plain(w, http.StatusFound, t.opts.Redirect+"\n")
		return
	}
	var b bytes.Buffer
	if err := page.Execute(&b, t.pageData()); err != nil {
		t.log.Error("info page cannot be made", zap.Error(err))
		plain(w, http.StatusInternalServerError, "Server Error\n")
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(b.Bytes()) // as above
}

// pageData gathers the numbers, without holding a lock for longer than for one
// torrent's.
func (t *Tracker) pageData() *pageData {
	t.mu.Lock()
	known := t.served // never changed, only replaced
	t.mu.Unlock()
	d := &pageData{Version: t.version, Time: time.Now().UTC().Format("2006-01-02 15:04:05 UTC"),
		Icon: t.favicon != nil, Names: t.opts.ShowNames && t.opts.AllowedDir != "", Get: t.opts.AllowGet}
	var bytes int64
	for _, s := range t.server.Torrents() {
		row := pageRow{Hash: hex.EncodeToString(s.InfoHash[:]), Query: url.QueryEscape(string(s.InfoHash[:])),
			Name: s.Name, Complete: s.Seeds, Downloading: s.Leeches, Downloaded: int(s.Completed)}
		if k, ok := known[s.InfoHash]; ok && k.size >= 0 {
			row.Size = humanize.IBytes(uint64(k.size))
			bytes += k.size
		}
		d.Total.Complete += row.Complete
		d.Total.Downloading += row.Downloading
		d.Total.Downloaded += row.Downloaded
		d.Rows = append(d.Rows, row)
	}
	d.Total.Size = humanize.IBytes(uint64(bytes))
	return d
}

// file gives a torrent of allowed_dir away.
func (t *Tracker) file(w http.ResponseWriter, r *http.Request) {
	if !t.opts.AllowGet {
		plain(w, http.StatusBadRequest, "get function is not available with this tracker.")
		return
	}
	var ih infoHash
	copy(ih[:], r.URL.Query().Get("info_hash"))
	t.mu.Lock()
	s, ok := t.served[ih]
	t.mu.Unlock()
	if !ok || s.path == "" {
		plain(w, http.StatusNotFound, alas)
		return
	}
	data, err := readFile(s.path, torrentfile.MaxSize)
	if err != nil {
		if !os.IsNotExist(err) {
			t.log.Error("torrent cannot be given", zap.String("file", s.path), zap.Error(err))
		}
		plain(w, http.StatusNotFound, alas)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/x-bittorrent")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": filepath.Base(s.path)}))
	_, _ = w.Write(data) // as above
}

func (t *Tracker) icon(w http.ResponseWriter) {
	if t.favicon == nil {
		plain(w, http.StatusNotFound, alas)
		return
	}
	w.Header().Set("Content-Type", "image/x-icon")
	_, _ = w.Write(t.favicon) // as above
}

// believes says whether a client's own word for its address is taken.
func (t *Tracker) believes(from netip.Addr) bool { return t.opts.AnyGivenIP || isLocal(from) }
