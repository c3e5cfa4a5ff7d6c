// Package swarm is a BitTorrent engine (BEP 3, 6, 9, 10, 11, 21) for hosts that
// trust each other: it chokes nobody, asks every holder with short queues, and
// lets a directing seed choose what each leaf gets first.
//
// A Torrent's state belongs to one goroutine, its loop, which exists only while
// there is something to do; everything else sends it events. Deciding is left
// to package picker, which is pure. Each connection has a reader and a writer:
// the reader turns messages into events and puts requests into the
// connection's own upload queue, the writer takes the next block when the
// socket wants it. A pool of workers verifies and writes pieces.
//
// An Engine's Run owns all these goroutines and returns when they have ended.
// A Torrent is added and closed at any time, before Run too.
package swarm
