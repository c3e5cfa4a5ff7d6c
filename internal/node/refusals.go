package node

import (
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"distd/pkg/dht"
)

// refusedEvery is the least time between two log lines about one reason of a
// source.
const refusedEvery = time.Hour

// harmful are reasons that no node has that is in order: each is worth a warning.
var harmful = []string{string(dht.Malformed), string(dht.TooLong), string(dht.TooFast), string(dht.BadSignature), string(dht.BadValue)}

// refusalLog says in the log what the sources have refused: the first of each
// reason, and then now and then how many more.
type refusalLog struct{ said map[refusalKey]saidRefusal }

type refusalKey struct{ source, why string }

type saidRefusal struct {
	count uint64
	at    time.Time
}

func (l *refusalLog) update(log *zap.Logger, sources []SourceStatus, now time.Time) {
	if l.said == nil {
		l.said = map[refusalKey]saidRefusal{}
	}
	for _, s := range sources {
		for _, why := range slices.Sorted(maps.Keys(s.Refused)) {
			count, key := s.Refused[why], refusalKey{s.Name, why}
			last := l.said[key]
			if count == last.count || !last.at.IsZero() && now.Sub(last.at) < refusedEvery {
				continue
			}
			level := zapcore.InfoLevel
			if slices.Contains(harmful, why) {
				level = zapcore.WarnLevel
			}
			log.Log(level, "what others sent was refused; nothing else comes of it", zap.String("source", s.Name), zap.String("reason", why),
				zap.String("last", s.RefusedOf[why]), zap.Uint64("since_last_line", count-last.count), zap.Uint64("in_all", count))
			l.said[key] = saidRefusal{count, now}
		}
	}
}
