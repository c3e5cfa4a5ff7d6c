// Package tracker is a BitTorrent tracker and the client of one.
//
// The server answers announces and scrapes over HTTP and UDP: BEP 3 (announce,
// scrape), 7 (IPv6 peers), 15 (UDP), 23 (compact peers), 31 (failure reason with
// "retry in") and 48 (scrape). It is made for the swarms of a datacenter: peers
// of a young or changing swarm are asked back within seconds so that they find
// each other, and less and less often as the swarm settles or load grows.
//
// The client, Announcer, keeps one torrent announced: tiers of BEP 12, events,
// min interval, back-off, HTTP(S) and UDP.
//
// Ownership: NewServer and NewAnnouncer start nothing. Server.Run and
// Announcer.Run work in the goroutine of their caller; Server.ServeUDP owns its
// readers and returns when they have ended. Server.ServeHTTP runs in the
// goroutines of the http.Server it is mounted in.
package tracker
