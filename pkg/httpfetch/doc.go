// Package httpfetch downloads the missing pieces of a release from HTTP(S)
// mirrors by range requests (RFC 9110 section 14) over as many connections as
// help, and hands each piece to a Sink as soon as its bytes are together.
//
// Mirrors stand in strict tiers: those of a worse tier are touched only when
// every mirror of all better tiers has failed for a set time. Nothing that a
// mirror says is believed: each answer must be the range that was asked for, of
// an unchanged representation, without an encoding, from the host that was
// asked; and bytes count only once the Sink has verified their piece.
//
// The parts: grow.go decides how many connections there are, size.go how much
// one is asked for and how the tail is split, tier.go which mirrors may be used;
// they are pure, without I/O, locks and clock. board.go keeps the pieces that
// are being put together. conn.go and client.go speak HTTP/1.1. lane.go is one
// connection at work and fetcher.go ties everything together.
//
// Goroutines: Fetcher.Run owns one for each connection and ends them all before
// it returns. A Client owns none; its idle connections are closed by timers,
// which Close stops.
package httpfetch
