package node

import (
	"errors"
	"testing"

	"go.uber.org/zap/zapcore"
)

func TestRepeated(t *testing.T) {
	var r repeated
	for i, c := range []struct {
		err  string
		want zapcore.Level
	}{
		{"a", zapcore.ErrorLevel}, {"a", zapcore.DebugLevel}, {"b", zapcore.ErrorLevel}, {"a", zapcore.ErrorLevel}, {"a", zapcore.DebugLevel},
	} {
		if got := r.level(errors.New(c.err)); got != c.want {
			t.Errorf("error %d (%s) at level %s, want %s", i, c.err, got, c.want)
		}
	}
}
