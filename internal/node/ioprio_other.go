//go:build !linux

package node

import "errors"

func idlePriority() error { return errors.ErrUnsupported }
