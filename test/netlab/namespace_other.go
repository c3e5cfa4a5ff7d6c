//go:build !linux

package netlab

import "errors"

func within(string, func() error) error { return errors.ErrUnsupported }
