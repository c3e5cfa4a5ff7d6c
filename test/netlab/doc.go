// Package netlab is a network of namespaces on this machine, and swarms on it:
// hosts on a switch, each behind a cable with a rate, long links with delay and
// loss, peers of several kinds, and what can be done to them. It serves the
// command in test/lab, which measures, and the tests in test/integration, which
// look for wrong bytes.
//
// It wants Linux, root and iproute2, and ends only what it started.
package netlab
