//go:build unix

package swarm

import (
	"os"
	"syscall"
	"testing"
	"time"

	"distd/pkg/swarm/wire"
)

// cpuTime is what the process has used of the processors.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// inMemory is a new folder, in memory where that can be.
func inMemory(b *testing.B) string {
	parent := "/dev/shm"
	if _, err := os.Stat(parent); err != nil {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "distd-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// BenchmarkTransfer is what it costs to bring 256 MiB from one engine to another
// over loopback, for both sides together: with peers that speak plainly, encrypt
// with MSE, or are secured by TLS.
func BenchmarkTransfer(b *testing.B) {
	const size = 256 << 20
	con := newContent(b, size, 256<<10)
	for _, c := range []struct {
		name   string
		policy wire.Policy
		secure Secure
	}{
		{"plain", wire.Off, nil},
		{"mse", wire.Require, nil},
		{"tls", wire.Off, newTestTLS(b)},
	} {
		b.Run(c.name, func(b *testing.B) {
			with := nodeOptions{policy: c.policy, change: func(cfg *Config) { cfg.Secure = c.secure }}
			asSeed := with
			asSeed.seed, asSeed.directing, asSeed.dir = true, true, inMemory(b)
			seed := startNode(b, con, asSeed)
			var cpu, took time.Duration
			all := 0.0
			for b.Loop() {
				b.StopTimer()
				with.dir = inMemory(b)
				leaf := startNode(b, con, with)
				b.StartTimer()
				began, before := time.Now(), cpuTime(b)
				leaf.knows(seed)
				leaf.wait(10 * time.Minute)
				cpu, took, all = cpu+cpuTime(b)-before, took+time.Since(began), all+size
				b.StopTimer()
				leaf.stop()
				_ = os.RemoveAll(leaf.dir)
				b.StartTimer()
			}
			b.ReportMetric(all/(1<<20)/took.Seconds(), "MiB/s")
			b.ReportMetric(cpu.Seconds()/(all/(1<<30)), "cpu-s/GiB")
		})
	}
}
