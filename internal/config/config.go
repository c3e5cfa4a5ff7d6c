// Package config holds every setting of the daemon: its type, its default, its
// meaning and the check of its value.
//
// A setting has one name in four places: the key `peer_listen` of the
// configuration file is the flag -peer-listen and the variable
// DISTD_PEER_LISTEN. A flag wins over the environment, that over the file, and
// the file over the default.
package config

import (
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
)

// DefaultFile is read when no file is named and it exists.
const DefaultFile = "/etc/distd/config.yaml"

// Roles of a node.
const (
	RoleMaster = "master"
	RoleSeed   = "seed"
	RoleLeaf   = "leaf"
)

// Bytes is a size, written as a number with a unit: "64MiB", "1GB", "4096".
type Bytes int64

// UnmarshalText parses a size.
func (b *Bytes) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > 1<<62 {
		return fmt.Errorf("%q is not a size such as 64MiB", text)
	}
	*b = Bytes(n)
	return nil
}

// MarshalText writes the size with a binary unit where it has a whole one.
func (b Bytes) MarshalText() ([]byte, error) {
	v, units := int64(b), []string{"", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for v != 0 && v%1024 == 0 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return fmt.Appendf(nil, "%d%s", v, units[i]), nil
}

// Config is the whole configuration of a daemon. The tags are its names, its
// help and what SIGHUP can change ("reload").
type Config struct {
	Role string `koanf:"role" usage:"what this node is: master, seed or leaf"`
	Dir  string `koanf:"dir" usage:"folder that holds the live releases and, below .distd, the node's state"`

	Listen     string `koanf:"listen" usage:"address of the HTTP(S) server: tree, tracker, events, status (default: :8443 on a master, :6969 on a seed, none on a leaf)"`
	PeerListen string `koanf:"peer_listen" usage:"address for BitTorrent peers (default: :6881 on a seed or leaf, none on a master; with it a master is tracker and peer too)"`
	TLSCert    string `koanf:"tls_cert" usage:"certificate file (PEM, with its chain); the server then speaks HTTPS" reload:"contents"`
	TLSKey     string `koanf:"tls_key" usage:"private key file of tls_cert" reload:"contents"`
	ClientCA   string `koanf:"client_ca" usage:"file with CA certificates (PEM); clients of the HTTPS server must then show a certificate of one of them" reload:"contents"`
	PublicURL  string `koanf:"public_url" usage:"address under which others reach this server, for torrents and metalinks (default: the request's own)"`

	Master  string   `koanf:"master" usage:"URL of the upstream of a seed; on a leaf, of where wan_fallback may fetch from besides the releases' mirrors"`
	Seed    []string `koanf:"seed" usage:"URLs of the seeds that a leaf follows, all of them; one that answers is enough (default: those of the SRV records _distd._tcp of the search domains). On a seed: the seeds of its datacenter, which fetch one copy together; its own may be among them"`
	DHT     []string `koanf:"dht" usage:"the zone's DHT, at the peers' port by UDP: HOST:PORT of nodes to begin with (seeds), on, off, or public to join the world's too (default: on, with the nodes that peers tell of)"`
	Peer    []string `koanf:"peer" usage:"HOST:PORT of peers to know from the start, of every release and for the DHT"`
	LSD     bool     `koanf:"lsd" usage:"find peers on the same link by multicast (BEP 14)"`
	Channel []string `koanf:"channel" usage:"channels to follow (default: all)"`
	CA      string   `koanf:"ca" usage:"file with CA certificates (PEM) to trust besides the system's"`
	Proxy   string   `koanf:"proxy" usage:"URL of the HTTP proxy to the upstream and the mirrors, or none (default: what HTTPS_PROXY and HTTP_PROXY say); NO_PROXY holds in any case"`
	Cert    string   `koanf:"client_cert" usage:"certificate file (PEM, with its chain) that this node shows to servers that want one" reload:"contents"`
	CertKey string   `koanf:"client_key" usage:"private key file of client_cert" reload:"contents"`
	Auth    string   `koanf:"auth_file" usage:"file with user names and passwords for upstreams, mirrors and proxies, in the form of netrc: machine https://HOST:PORT login NAME password WORD" reload:"contents"`
	Key     string   `koanf:"key" usage:"publisher's public key, a file or the key itself; without it the first key seen is pinned"`

	Zone    string   `koanf:"zone" usage:"name of this node's zone, its datacenter, such as dc1; peers that name another zone are hung up on"`
	ZoneNet []string `koanf:"zone_net" usage:"networks of the zone, such as 10.1.0.0/16,2001:db8:1::/48; peers elsewhere are not dialled, accepted, named to others or stored, whoever names them (default: peers may be anywhere)"`

	Hook          string        `koanf:"hook" usage:"program to run after a release became live" reload:"yes"`
	HookTimeout   time.Duration `koanf:"hook_timeout" usage:"how long the hook may run before it is ended" reload:"yes"`
	OnHookFailure string        `koanf:"on_hook_failure" usage:"what is live when the hook failed: keep the new release, or rollback" reload:"yes"`
	Keep          int           `koanf:"keep" usage:"how many releases of a channel stay on disk; the live and the previous one always do" reload:"yes"`

	KeepAge   time.Duration `koanf:"keep_age" usage:"how long a release stays after it was made, apart from those (720h; 0: no limit)" reload:"yes"`
	KeepBytes Bytes         `koanf:"keep_bytes" usage:"how much all releases of a channel may take on the disk before the oldest go, apart from those (0: no limit)" reload:"yes"`
	MinFree   Reserve       `koanf:"min_free" usage:"space that stays free on the file system of dir: a size, a percentage, or both for the smaller one; for a new release old ones go, else it waits" reload:"yes"`

	Scrub       time.Duration `koanf:"scrub" usage:"how often all releases are read in the background and compared with their manifests (0: never)" reload:"yes"`
	ScrubRate   Bytes         `koanf:"scrub_rate" usage:"bytes that this reads a second, at most (0: no limit)" reload:"yes"`
	ScrubRepair bool          `koanf:"scrub_repair" usage:"whether what differs is fetched again and put right" reload:"yes"`

	Reuse string `koanf:"reuse" usage:"how files that an earlier release has already become part of a new one: link (one file with two names, which shares its blocks and changes; else as reflink), reflink (where the file system can; else copy) or copy" reload:"yes"`

	Owner string `koanf:"owner" usage:"whom the files, folders and symlinks of releases on a seed or leaf are given to: USER, USER:GROUP or :GROUP, by name or number (default: the user and group that distd runs as)"`

	Spare bool `koanf:"spare" usage:"whether a node keeps, beside a live tree of some hundreds of files, a second one of links to them (folders, no content), with which the next release is there sooner; with reuse: link only" reload:"yes"`

	Announce []string      `koanf:"announce" usage:"tracker URLs put into published torrents, one tier each"`
	Mirror   []string      `koanf:"mirror" usage:"further places of the content for published releases: [LOCATION [PREFERENCE]] URL"`
	Deltas   int           `koanf:"delta_bases" usage:"for how many of a channel's releases before it a published release gets a delta pack, with which nodes that have that release fetch what changed (0: none)" reload:"yes"`
	Inline   Bytes         `koanf:"inline" usage:"how large a delta pack may be to be fetched from the upstream together with a release's documents, without the swarm (0: none)" reload:"yes"`
	Expires  time.Duration `koanf:"expires" usage:"how long a published release is valid (0: for ever)" reload:"yes"`

	Watch           []string      `koanf:"watch" usage:"folders and files that the master publishes by itself when they have changed: CHANNEL=PATH"`
	WatchSettle     time.Duration `koanf:"watch_settle" usage:"for how long nothing must have changed before it is published"`
	WatchMaxDelay   time.Duration `koanf:"watch_max_delay" usage:"after which time it is tried although it still changes"`
	WatchRescan     time.Duration `koanf:"watch_rescan" usage:"how often to look through watched folders for what was not noticed; every 30s while not all can be watched"`
	WatchMarker     string        `koanf:"watch_marker" usage:"name of a file in the watched folder, such as .publish, that is made or touched when a change is complete; with it nothing else publishes"`
	WatchUnreadable string        `koanf:"watch_unreadable" usage:"what to do about files that the master may not read: hold the release back, or skip them"`

	MaxDelete string `koanf:"max_delete" usage:"how many files one publish may delete, a number such as 500 or a share such as 30% of more than 100 files; a publish that deletes more is held back (none: no limit)" reload:"yes"`

	Encryption  string        `koanf:"encryption" usage:"message stream encryption between peers: off, allow or require"`
	MaxPeers    int           `koanf:"max_peers" usage:"peer connections of this node, at most" reload:"yes"`
	PerRelease  int           `koanf:"max_peers_per_release" usage:"peer connections of one release, at most" reload:"yes"`
	MaxClients  int           `koanf:"max_clients" usage:"HTTP connections of this node, at most"`
	MirrorConns int           `koanf:"mirror_conns" usage:"connections to one mirror, at most"`
	Memory      Bytes         `koanf:"memory" usage:"memory for pieces in flight, at most"`
	Congestion  string        `koanf:"congestion" usage:"TCP congestion control asked for on HTTP connections where the kernel offers it (empty: the system's)"`
	Poll        time.Duration `koanf:"poll_interval" usage:"how often to ask an upstream that has no events"`
	Fallback    string        `koanf:"wan_fallback" usage:"what a leaf does when no seed is there: never fetch from the mirrors itself, or after such a time (2m)"`
	Patience    time.Duration `koanf:"tier_patience" usage:"how long every mirror of the better tiers must have failed before the next tier is used"`

	Location        []string `koanf:"location" usage:"use only mirrors of these locations, as the publisher named them; upstream is the node that is followed (default: all)"`
	ExcludeLocation []string `koanf:"exclude_location" usage:"never use mirrors of these locations, such as internal"`

	Up          Timetable `koanf:"up" usage:"bytes of content that this node sends a second, at most, to peers and over HTTP (0: no limit); or a timetable of rates" reload:"yes"`
	Down        Timetable `koanf:"down" usage:"bytes of content that this node receives a second, at most, from peers and mirrors (0: no limit); or a timetable" reload:"yes"`
	WANDown     Timetable `koanf:"wan_down" usage:"bytes of content that this node receives a second from mirrors, at most: the long link (0: no limit); or a timetable; down holds besides" reload:"yes"`
	ChannelUp   []string  `koanf:"channel_up" usage:"the same as up for single channels, such as web=10MiB; both limits hold" reload:"yes"`
	ChannelDown []string  `koanf:"channel_down" usage:"the same as down for single channels" reload:"yes"`
	DSCP        string    `koanf:"dscp" usage:"mark of the packets to peers, mirrors and HTTP clients: cs0 to cs7, af11 to af43, ef, le, or 0 to 63 (empty: the system's)" reload:"yes"`

	LogLevel  string `koanf:"log_level" usage:"debug, info, warn or error" reload:"yes"`
	LogFormat string `koanf:"log_format" usage:"console, json, or auto: console on a terminal, json elsewhere"`
}

// Default returns the settings that hold where nothing else is said. Listen
// and PeerListen depend on the role: see Config.fill.
func Default() Config {
	return Config{
		Dir:             "/var/lib/distd",
		HookTimeout:     time.Hour,
		OnHookFailure:   "keep",
		Keep:            3,
		WatchSettle:     2 * time.Second,
		WatchMaxDelay:   time.Minute,
		WatchRescan:     time.Hour,
		WatchUnreadable: "hold",
		Encryption:      "allow",
		MaxPeers:        500,
		PerRelease:      300,
		MaxClients:      4096,
		MirrorConns:     64,
		Memory:          24 << 20,
		Congestion:      "bbr",
		Poll:            10 * time.Second,
		Fallback:        "never",
		Patience:        30 * time.Second,
		LogLevel:        "info",
		LogFormat:       "auto",
		Scrub:           7 * 24 * time.Hour,
		ScrubRate:       10 << 20,
		MinFree:         Reserve{Bytes: 1 << 30, Percent: 5},
		Reuse:           "link",
		Spare:           true,
		Deltas:          2,
		MaxDelete:       "50%",
		Inline:          256 << 10,
	}
}

// fill sets what depends on the role and was not set.
func (c *Config) fill() {
	switch c.Role {
	case RoleMaster:
		setDefault(&c.Listen, ":8443")
	case RoleSeed:
		setDefault(&c.Listen, ":6969")
		setDefault(&c.PeerListen, ":6881")
	case RoleLeaf:
		setDefault(&c.PeerListen, ":6881")
	}
}

func setDefault(s *string, v string) {
	if *s == "" {
		*s = v
	}
}
