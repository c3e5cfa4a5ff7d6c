// Package wire speaks the peer protocol of BitTorrent over one connection:
// handshakes (BEP 3, with the bits of BEP 5, 6 and 10), Message Stream
// Encryption in both directions, and messages (BEP 3, 5, 6, 9, 10, 11, 21).
//
// It holds no state of a swarm and decides nothing. Everything that a peer
// sends is bounded by Limits before memory is set aside for it; a peer that
// breaks the protocol is reported as a *ProtocolError and no input panics.
//
// Handshakes start goroutines that end before they return; nothing else here
// starts any. A Reader belongs to the
// goroutine that calls Next, a Writer takes messages from any and is flushed
// by one.
package wire
