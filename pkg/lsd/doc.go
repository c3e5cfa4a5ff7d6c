// Package lsd finds BitTorrent peers on the same link without any server: local
// service discovery, BEP 14.
//
// Each node tells a multicast group, over IPv4 and IPv6, which torrents it has a
// part in and at which TCP port its peers may connect; all who keep one of them
// hear of it. Messages do not leave the link (TTL 1).
//
// A Node opens its sockets in New and closes them at the end of Run. When what is
// sent is decided in pace.go, without sockets and clock.
package lsd
