package node

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"distd/internal/config"
	"distd/internal/limit"
)

// rate is one limit with the timetable that it follows. Without init it logs
// nothing.
type rate struct {
	limit.Timed
	table atomic.Pointer[config.Timetable]
}

// init says how the log names the limit: by its setting, and the channel if it
// is of one.
func (r *rate) init(log *zap.Logger, channel, setting string) {
	r.Switched = func(perSecond int64) {
		log.Info("the timetable changes a limit", zap.String("limit", setting), zap.String("channel", channel), zap.Stringer("rate", config.Rate(perSecond)))
	}
}

func (r *rate) follow(t config.Timetable) {
	r.table.Store(&t)
	r.Follow(t)
}

// TimetableStatus is a timetable that a limit follows, and where it stands.
type TimetableStatus struct {
	Limit     string    `json:"limit"` // up, down or wan_down
	Channel   string    `json:"channel,omitempty"`
	Timetable string    `json:"timetable"`
	Entry     string    `json:"entry"` // that holds
	Since     time.Time `json:"since"`
	Next      string    `json:"next_entry"`
	NextAt    time.Time `json:"next_at"`
}

// status describes the timetable, unless the rate is always the same.
func (r *rate) status(channel, setting string, now time.Time) []TimetableStatus {
	t := r.table.Load()
	if t == nil || !t.Varies() {
		return nil
	}
	holds, next := t.Around(now)
	return []TimetableStatus{{Limit: setting, Channel: channel, Timetable: t.String(),
		Entry: holds.Entry.String(), Since: holds.At, Next: next.Entry.String(), NextAt: next.At}}
}
