package main

import (
	"os"
	"os/signal"
	"syscall"
)

// onHangup calls reload with each SIGHUP, until stop is called.
func onHangup(reload func()) (stop func()) {
	hup, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-done:
				return
			case <-hup:
				reload()
			}
		}
	}()
	return func() {
		signal.Stop(hup)
		close(done)
	}
}
