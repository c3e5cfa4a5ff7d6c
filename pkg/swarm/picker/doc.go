// Package picker decides, for one torrent, which block to ask of which peer
// next and which piece to reveal to which leaf. It follows BEP 3 and BEP 6 in
// what it assumes of peers; what it adds is in the comments of each rule.
//
// Deciding is pure: the package does no I/O, has no clock of its own (time is
// handed in as a duration since some fixed start), takes no locks, starts no
// goroutines and logs nothing. The same calls in the same order give the same
// answers, so whole swarms run in a test in virtual time. Whoever owns a
// Picker calls it from one goroutine at a time.
package picker
