package node

import "go.uber.org/zap/zapcore"

// repeated makes one error of many equal ones in a row: what is tried again and
// fails for the same reason is said once, and then for debugging only. The
// status shows it as long as it lasts.
type repeated struct{ last string }

func (r *repeated) level(err error) zapcore.Level {
	if text := err.Error(); text != r.last {
		r.last = text
		return zapcore.ErrorLevel
	}
	return zapcore.DebugLevel
}
