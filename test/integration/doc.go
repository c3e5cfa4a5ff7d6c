// Package integration tests the built binary: several nodes, real peers, real
// crashes. Its tests use loopback addresses or network namespaces of their own,
// and end only what they started.
package integration
