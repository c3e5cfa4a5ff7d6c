package netlab

import (
	_ "embed"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// Client is a kind of peer.
type Client string

// The clients that the lab knows.
const (
	Distd      Client = "distd"
	Aria2      Client = "aria2c"
	Libtorrent Client = "libtorrent"
	// Rsync is no peer but what many have instead of a swarm: the seed is an rsync
	// daemon, and each leaf an rsync that fetches from it.
	Rsync Client = "rsync"
)

// ParseClient reads a client's name.
func ParseClient(s string) (Client, error) {
	switch c := Client(s); c {
	case Distd, Aria2, Libtorrent, Rsync:
		return c, nil
	}
	return "", fmt.Errorf("client %q is none of distd, aria2c, libtorrent, rsync", s)
}

//go:embed libtorrent_peer.py
var libtorrentPeer string

// systemPython is the one that Debian's python3-libtorrent is for.
const systemPython = "/usr/bin/python3"

// Missing says what the client wants that is not on this machine; nil when
// everything is there.
func (c Client) Missing() error {
	switch c {
	case Aria2:
		_, err := exec.LookPath("aria2c")
		return err
	case Rsync:
		_, err := exec.LookPath("rsync")
		return err
	case Libtorrent:
		if err := exec.Command(systemPython, "-c", "import libtorrent").Run(); err != nil {
			return fmt.Errorf("python3-libtorrent is not installed: %w", err)
		}
	}
	return nil
}

// task is what a client is to do: download, or seed what is there, until it is
// ended.
type task struct {
	distd      string // the binary
	torrent    string
	dir        string
	ip         string
	hook       string // to be run once everything is there
	encryption string // off, allow or require
	port       int
	conf       string // of an rsync daemon, which has something to give
	from       string // URL that rsync is to fetch from
}

func (c Client) argv(t task) []string {
	switch c {
	case Aria2:
		argv := []string{"aria2c", "--no-conf", "--seed-ratio=0.0", "--disable-ipv6", "-V", "--dir=" + t.dir, "--interface=" + t.ip,
			fmt.Sprint("--listen-port=", t.port), "--on-bt-download-complete=" + t.hook, "--enable-dht=false", "--bt-enable-lpd=false",
			"--file-allocation=none", "--console-log-level=warn", "--summary-interval=0", "--bt-tracker-interval=5", "--bt-max-peers=0"}
		if t.encryption == "require" {
			argv = append(argv, "--bt-force-encryption=true")
		}
		return append(argv, t.torrent)
	case Libtorrent:
		return []string{systemPython, "-c", libtorrentPeer, t.torrent, t.dir, t.ip, fmt.Sprint(t.port), t.encryption, t.hook}
	case Rsync:
		return rsyncArgv(t)
	default:
		return []string{t.distd, "fetch", "-d", t.dir, fmt.Sprintf("-listen=%s:%d", t.ip, t.port), "-seed-ratio=0.0",
			"-on-bt-download-complete=" + t.hook, "-encryption=" + t.encryption, t.torrent}
	}
}

// ParseClients reads what a number of leaves are: one client for all, or a mix
// such as "distd:8,aria2c:8", which must give as many.
func ParseClients(s string, leaves int) ([]Client, error) {
	var all []Client
	for part := range strings.SplitSeq(s, ",") {
		name, count, mixed := strings.Cut(part, ":")
		c, err := ParseClient(name)
		if err != nil {
			return nil, err
		}
		n := leaves
		if mixed {
			if _, err := fmt.Sscanf(count, "%d", &n); err != nil || n < 0 {
				return nil, fmt.Errorf("%q is not a number of leaves", count)
			}
		}
		for range n {
			all = append(all, c)
		}
	}
	if len(all) != leaves {
		return nil, fmt.Errorf("%q are %d leaves, not %d", s, len(all), leaves)
	}
	if slices.Contains(all, Rsync) && len(slices.Compact(slices.Clone(all))) > 1 {
		return nil, fmt.Errorf("%q: rsync is in no swarm: all leaves must be it, or none", s)
	}
	return all, nil
}
