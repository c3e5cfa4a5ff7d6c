// Package bttrack is `distd tracker`: a tracker on its own, in the place of
// BitTornado's bttrack. It reads bttrack's options, and puts a tracker.Server
// behind sockets, with the torrents of a folder or list, lists of addresses and
// an info page. How it answers announces is in pkg/tracker.
//
// New opens the sockets and reads the files and starts nothing; Run owns every
// goroutine.
package bttrack
