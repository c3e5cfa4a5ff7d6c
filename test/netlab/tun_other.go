//go:build !linux

package netlab

import (
	"errors"
	"time"
)

type tun struct{}

func openTUN(*Host, string) (*tun, error) { return nil, errors.ErrUnsupported }

func (*tun) close() error { return nil }

type pump struct {
	from *tun
	line *line
}

func startPump(*tun, *tun, *line) (*pump, error) { return nil, errors.ErrUnsupported }

func (*pump) stop() error { return nil }

func (*pump) cpu() time.Duration { return 0 }
