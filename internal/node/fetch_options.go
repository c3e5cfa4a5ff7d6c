package node

import (
	"io"
	"net"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"distd/internal/config"
	"distd/pkg/torrentfile"
)

// FetchOptions say what to download once, and how.
type FetchOptions struct {
	// Inputs are files or URLs of torrents and metalinks, magnet links, and plain
	// URLs. One may have several URLs of one file, with tabs between them.
	Inputs []string
	Dir    string // where the downloads go
	// Output is the name of what plain URLs name, which are mirrors of one file
	// then. Empty: the URL's own name.
	Output string
	Listen string // address for peers; AnyPort for the first free usual one, empty for none
	CA     string // further CA certificates

	ClientCert, ClientKey string // files of the certificate for servers that want one
	AuthFile              string // user names and passwords, see package outward
	Proxy                 string // URL or none; empty for the environment's
	IPv4                  bool   // nothing goes over IPv6
	// ZoneNet has the networks in which peers may be; none is all.
	ZoneNet []netip.Prefix

	DHT     FetchDHT
	LSD     bool // peers on the link are looked for, and told of this one
	follows bool // the command is that of Follow
	// lastResort is how long others are asked for a magnet link's torrent before its
	// acceptable sources are; 0 is torrentGrace.
	lastResort time.Duration

	// SeedRatio ends seeding when so many times the size was sent; 0 is never.
	SeedRatio float64
	// SeedTime ends seeding after that time; negative is never, 0 at once.
	SeedTime time.Duration

	Hooks      FetchHooks
	HookOutput io.Writer // gets what hooks print; nil for none

	// Check hashes what is on the disk, whatever is remembered of it. A file that
	// is not the wanted one is fetched anew in its place.
	Check bool
	// Continue takes a file of the right size for whole where no hash is known.
	Continue bool
	// Overwrite lets a download replace a file that may be anything.
	Overwrite bool

	Locations config.Locations // of mirrors in metalinks that may be used
	Prefer    []string         // locations whose mirrors are used before others
	// Select has the files of a torrent that are wanted, counted from 0; none is
	// all.
	Select torrentfile.Ranges
	// Up, Down and WANDown are limits of all downloads together; WANDown is of
	// mirrors alone.
	Up, Down, WANDown config.Timetable

	Trackers []string // to announce torrents to besides their own
	// StopTimeout ends a download with an error when nothing came for so long;
	// 0 is never.
	StopTimeout time.Duration
	// Checksum is what a file that plain URLs name must have, by IANA name.
	Checksum map[string]string

	Encryption string
	Parallel   int   // downloads at once, not counting those that only seed
	MaxConns   int   // connections to one mirror, at most
	Split      int   // connections to all mirrors of a download, at most; 0 is no limit
	MinSplit   int64 // bytes for each of the connections, at least
	Congestion string
	Version    string
	Log        *zap.Logger
	// Interval is how often Follow looks for a new version where no event tells it
	// of one.
	Interval time.Duration
	// Report is called from one goroutine, several times a second.
	Report func([]FetchState)
}

// FetchHooks are programs to run, each with aria2's three arguments: an id of 16
// hex digits, the number of files, and the path of the first. Empty ones are not
// run.
type FetchHooks struct {
	Start string // a download begins
	// Whole is aria2's on-bt-download-complete: the content is there, seeding
	// begins. It runs without a torrent too, unless Complete does.
	Whole    string
	Complete string // a download has ended well, and seeding too
	Error    string // a download has failed
	Stop     string // it has ended, and neither Complete nor Error is set for it
}

// FetchState is one download as it is now.
type FetchState struct {
	Name        string   `json:"name"`
	State       string   `json:"state"`
	Size        int64    `json:"size"`
	Done        int64    `json:"done"`
	FromPeers   int64    `json:"bytes_from_peers"`
	FromMirrors int64    `json:"bytes_from_mirrors"`
	Uploaded    int64    `json:"bytes_uploaded"`
	Peers       int      `json:"peers"`
	Path        string   `json:"path,omitempty"`
	Serial      uint64   `json:"serial,omitempty"`  // of a channel's release
	Release     string   `json:"release,omitempty"` // its ID
	Seconds     float64  `json:"seconds,omitempty"`
	Error       string   `json:"error,omitempty"`
	Mirrors     []Mirror `json:"mirrors,omitempty"`
}

// network is what connections go over: "tcp" or, without IPv6, "tcp4".
func (o *FetchOptions) network() string {
	if o.IPv4 {
		return "tcp4"
	}
	return "tcp"
}

// conns are the connections to mirrors for a download of size bytes: to each of
// them, and to all.
func (o *FetchOptions) conns(size int64) (each, all int) {
	each, all = o.MaxConns, o.Split
	if o.MinSplit > 0 {
		most := int(max(1, min(size/o.MinSplit, 1<<20)))
		if all == 0 || most < all {
			all = most
		}
	}
	if all > 0 {
		each = min(each, all)
	}
	return each, all
}

// localPort is where peers are listened for.
func localPort(ln net.Listener) *net.TCPAddr {
	if ln == nil {
		return &net.TCPAddr{}
	}
	return ln.Addr().(*net.TCPAddr)
}
