//go:build race

package integration

// With the race detector in the tests, the binary under test has it too.
func init() { buildFlags = append(buildFlags, "-race") }
