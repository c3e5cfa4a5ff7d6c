package netlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// trackerAddr is on the first seed, as in a datacenter.
func (s *Swarm) trackerAddr() netip.AddrPort { return netip.AddrPortFrom(s.seedAddr(0), 6969) }

func (s *Swarm) startTracker() (err error) {
	dir := filepath.Join(s.dir, "tracker")
	hash := fmt.Sprintf("%x\n", s.Content.Torrent.InfoHash)
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "whitelist"), []byte(hash), 0o644)); err != nil {
		return err
	}
	addr := s.trackerAddr()
	port := strconv.Itoa(int(addr.Port()))
	s.tracker, err = s.Seeds[0].Host.Start(filepath.Join(s.dir, "tracker.log"), "opentracker", "-i", addr.Addr().String(), "-p", port, "-P", port,
		"-d", dir, "-w", "whitelist", "-u", "nobody")
	return err
}

// awaitPeers waits until the tracker knows all peers that were started.
func (s *Swarm) awaitPeers(ctx context.Context) error {
	want := len(s.Seeds)
	if s.Hostile != nil {
		want++
	}
	client := s.Seeds[0].client()
	var escaped strings.Builder
	for _, c := range s.Content.Torrent.InfoHash {
		fmt.Fprintf(&escaped, "%%%02x", c)
	}
	url := fmt.Sprintf("http://%s/scrape?info_hash=%s", s.trackerAddr(), &escaped)
	return await(ctx, 50*time.Millisecond, "the tracker knows the seeds", func() (bool, error) {
		if err := errors.Join(s.err(), s.tracker.Err()); err != nil {
			return false, err
		}
		b, err := get(ctx, client, url)
		if err != nil {
			return false, nil // it does not answer yet
		}
		return number(b, "complete")+number(b, "incomplete") >= want, nil
	})
}

func get(ctx context.Context, c *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	return io.ReadAll(resp.Body)
}

// number is a number of a bencoded dictionary of numbers.
func number(b []byte, key string) int {
	_, rest, _ := strings.Cut(string(b), fmt.Sprintf("%d:%si", len(key), key))
	digits, _, _ := strings.Cut(rest, "e")
	n, _ := strconv.Atoi(digits)
	return n
}
