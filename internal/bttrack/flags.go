package bttrack

// Flag is an option of bttrack, or one of our own. Each takes one value.
type Flag struct {
	Name, Default, Usage string
	// Idle says why the option does nothing here; "" for those that do. No
	// warning is given for the value None, which asks for nothing.
	Idle, None string
}

// Flags returns all options in the order of the help.
func Flags() []Flag {
	return []Flag{
		{Name: "dfile", Usage: "`FILE` that keeps the peers over a restart, in bttrack's format"},
		{Name: "port", Default: "80", Usage: "`PORT` to listen on, TCP and UDP"},
		{Name: "bind", Usage: "comma-separated `ADDRESSES` to listen on (default: all)"},
		{Name: "ipv6_enabled", Default: "0", Usage: "`1` listens for IPv6 too, where no address is given"},
		{Name: "udp", Default: "1", Usage: "`0` answers over HTTP alone"},
		{Name: "reannounce_interval", Default: "1800", Usage: "`SECONDS` that clients wait between announces"},
		{Name: "announce_rate", Default: "5000", Usage: "`NUMBER` of announces a second above which clients are told to wait for longer"},
		{Name: "response_size", Default: "50", Usage: "`NUMBER` of peers in an answer, at most"},
		{Name: "timeout_downloaders_interval", Default: "2700", Usage: "`SECONDS` after which a silent peer is forgotten"},
		{Name: "save_dfile_interval", Default: "300", Usage: "`SECONDS` between two writes of the dfile"},
		{Name: "allowed_dir", Usage: "`FOLDER` with the torrents that are served; others are refused"},
		{Name: "allowed_list", Usage: "`FILE` with the infohashes that are served, in hex, one a line; wins over allowed_dir"},
		{Name: "parse_dir_interval", Default: "60", Usage: "`SECONDS` after which folder and lists are looked at again; SIGHUP does it at once"},
		{Name: "allowed_ips", Usage: "`FILE` with the addresses that may ask, as aa.bb.cc.dd/len; one a line"},
		{Name: "banned_ips", Usage: "`FILE` with the addresses that may not, as text:ip1-ip2; one a line"},
		{Name: "only_local_override_ip", Default: "2", Usage: "`0` takes the ip parameter of every client, 1 and 2 that of clients on local addresses"},
		{Name: "compact_reqd", Default: "1", Usage: "`0` serves clients that do not ask for compact answers"},
		{Name: "scrape_allowed", Default: "full", Usage: "`WHICH` scrapes are answered: none, specific or full"},
		{Name: "keep_dead", Default: "0", Usage: "`1` keeps torrents without peers, where neither folder nor list says which are served"},
		{Name: "show_infopage", Default: "1", Usage: "`0` has no page at /"},
		{Name: "infopage_redirect", Usage: "`URL` that / leads to instead"},
		{Name: "show_names", Default: "1", Usage: "`0` shows infohashes alone"},
		{Name: "favicon", Usage: "`FILE` that is /favicon.ico"},
		{Name: "allow_get", Default: "0", Usage: "`1` gives the torrents of allowed_dir away, at /file?info_hash="},
		{Name: "logfile", Usage: "`FILE` for the log; SIGHUP opens it again (default: standard error)"},
		{Name: "http_timeout", Default: "60", Usage: "`SECONDS` that a connection may wait for its next request"},
		{Name: "socket_timeout", Default: "15", Usage: "`SECONDS` that a request may take to arrive"},

		{Name: "nat_check", Default: "3", None: "0", Usage: "`VALUE` of no effect", Idle: "peers are listed without a connection being tried: behind one firewall all can be reached, and elsewhere a client finds out by itself"},
		{Name: "log_nat_checks", Default: "0", None: "0", Usage: "`VALUE` of no effect", Idle: "there are no NAT checks"},
		{Name: "hupmonitor", Default: "0", None: "1", Usage: "`VALUE` of no effect", Idle: "SIGHUP always opens the log file again, and reads folder and lists"},
		{Name: "min_time_between_log_flushes", Default: "3.0", Usage: "`VALUE` of no effect", Idle: "every line of the log is written at once"},
		{Name: "min_time_between_cache_refreshes", Default: "600", Usage: "`VALUE` of no effect", Idle: "there is no cache: each answer is a fresh choice of peers"},
		{Name: "timeout_check_interval", Default: "5", Usage: "`VALUE` of no effect", Idle: "each connection has a timer of its own"},
		{Name: "ipv6_binds_v4", Default: "0", Usage: "`VALUE` of no effect", Idle: "with ipv6_enabled both families are listened for in any case"},
		{Name: "allowed_controls", Default: "0", None: "0", Usage: "`VALUE` of no effect", Idle: "messages for clients inside torrent files are not looked for"},
		{Name: "multitracker_enabled", Default: "0", None: "0", Usage: "`VALUE` of no effect", Idle: "trackers do not exchange peers: put several into the torrent, one tier each"},
		{Name: "multitracker_allowed", Default: "autodetect", None: "none", Usage: "`VALUE` of no effect", Idle: "trackers do not exchange peers"},
		{Name: "multitracker_reannounce_interval", Default: "120", Usage: "`VALUE` of no effect", Idle: "trackers do not exchange peers"},
		{Name: "multitracker_maxpeers", Default: "20", Usage: "`VALUE` of no effect", Idle: "trackers do not exchange peers"},
		{Name: "aggregate_forward", Usage: "`VALUE` of no effect", Idle: "announces are not forwarded to another tracker"},
		{Name: "aggregator", Default: "0", None: "0", Usage: "`VALUE` of no effect", Idle: "announces of other trackers are not gathered"},
		{Name: "dedicated_seed_id", Usage: "`VALUE` of no effect", Idle: "torrents are not marked as seeded; the page shows the number of seeds"},
	}
}
