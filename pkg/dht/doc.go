// Package dht is a node of a private DHT: BEP 5 (nodes and peers), 32 (IPv6),
// 43 (read-only nodes), 44 and 46 (signed items).
//
// A zone is a set of addresses. Whatever comes from outside of it, or names an
// address outside of it, is dropped before anything else sees it.
//
// The parts, each of which decides one thing:
//
//	bencode, message   what a packet may look like
//	guard              which packets come in and go out
//	zone, limits       which addresses, how many packets
//	book               which nodes are known, and which are good
//	tokens, peers, items
//	                   who may store, and what is stored for how long
//	answer             what is said to others
//	lookup, schedule   what is asked of others, and when
//	keep, follow       torrents and items of this node
//	join               how nodes become known
//
// Queries, their time-outs and the walk towards a target are those of
// github.com/anacrolix/dht/v2. It reads nothing but replies that the guard has
// written anew, and answers nobody.
package dht
