// Package tracker is a BitTorrent tracker and the client of one.
//
// The server answers announces and scrapes over HTTP and UDP: BEP 3 (announce,
// scrape), 7 (IPv6 peers), 15 (UDP), 23 (compact peers), 31 (failure reason with
// "retry in") and 48 (scrape). It is made for the swarms of a datacenter: peers
// of a young or changing swarm are asked back within seconds so that they find
// each other, and less and less often as the swarm settles or load grows.
//
// The client, Announcer, keeps one torrent announced: tiers of BEP 12, events,
// min interval, back-off, HTTP(S) and UDP. A Group does that for many torrents
// at the cost of one goroutine.
//
// Ownership: NewServer, NewAnnouncer and NewGroup start nothing. Server.Run works
// in the goroutine of its caller. Group.Run and Announcer.Run own a goroutine for
// each announce under way, Server.ServeUDP its readers, Server.ServeTCP one for
// each connection; they return when these have ended. Server.ServeHTTP runs in
// the goroutines of the http.Server it is mounted in.
//
// With Config.Bttrack a Server takes the place of BitTornado's bttrack.
package tracker
