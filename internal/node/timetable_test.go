package node

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"distd/internal/config"
)

// TestTimetableSwitchesLimits: limits of the node and of a channel follow their
// timetables by themselves, say so in the log, and show where they stand. What
// the configuration says anew holds at once.
func TestTimetableSwitchesLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logged := observer.New(zap.InfoLevel)
		var n Node
		n.log = zap.New(core)
		n.limits.init(n.log)
		defer n.limits.stop()
		now := time.Now()
		soon := now.Add(10 * time.Minute).Format("15:04")
		later := now.Add(20 * time.Minute).Format("15:04")
		text := soon + ",1MiB " + later + ",off"
		cfg := config.Default()
		cfg.WANDown, cfg.ChannelUp = *table(t, text), []string{"web=" + text}
		n.cfg.Store(&cfg)
		if err := n.limits.set(&cfg); err != nil {
			t.Fatal(err)
		}
		wan, web := &n.limits.wan, &n.limits.channel("web").up
		for _, step := range []struct {
			after time.Duration
			want  int64
			holds string
			next  time.Time
		}{
			{0, 0, later + ",off", now.Add(10 * time.Minute)},
			{10*time.Minute - time.Second, 0, later + ",off", now.Add(10 * time.Minute)},
			{time.Second, 1 << 20, soon + ",1MiB", now.Add(20 * time.Minute)},
			{10 * time.Minute, 0, later + ",off", now.AddDate(0, 0, 1).Add(10 * time.Minute)},
		} {
			time.Sleep(step.after)
			synctest.Wait()
			if wan.Limit() != step.want || web.Limit() != step.want {
				t.Errorf("after %v: wan_down %d, up of web %d; want %d", time.Since(now), wan.Limit(), web.Limit(), step.want)
			}
			shown := n.Limits().Timetables
			if len(shown) != 2 {
				t.Fatalf("shown: %+v", shown)
			}
			for i, of := range []string{"wan_down of ", "up of web"} {
				if s := shown[i]; s.Limit+" of "+s.Channel != of || s.Timetable != text || s.Entry != step.holds || !s.NextAt.Equal(step.next) {
					t.Errorf("after %v: %+v, want %s of %s until %v", time.Since(now), s, step.holds, of, step.next)
				}
			}
		}
		if got := logged.FilterMessage("the timetable changes a limit").Len(); got != 4 {
			t.Errorf("%d switches logged, want 4", got)
		}
		cfg.WANDown, cfg.ChannelUp = config.Always(7<<20), nil
		if err := n.limits.set(&cfg); err != nil {
			t.Fatal(err)
		}
		time.Sleep(48 * time.Hour)
		if wan.Limit() != 7<<20 || web.Limit() != 0 || len(n.Limits().Timetables) > 0 {
			t.Errorf("after another configuration: wan_down %d, up of web %d, %+v", wan.Limit(), web.Limit(), n.Limits().Timetables)
		}
	})
}

// TestTimetableOverSocket: a timetable that the operator sets goes over the
// socket as it was written.
func TestTimetableOverSocket(t *testing.T) {
	cfg := defaults(config.RoleMaster)
	cfg.Listen = "127.0.0.1:0"
	n := runNode(t, cfg)
	c, err := DialControl(n.store.Dir())
	if err != nil {
		t.Fatal(err)
	}
	l, err := c.Limit(t.Context(), LimitRequest{Down: table(t, "00:00,3MiB Mon-Fri-08:00,3MiB")})
	if err != nil {
		t.Fatal(err)
	}
	if l.Down != 3<<20 || len(l.Timetables) != 1 || l.Timetables[0].Timetable != "00:00,3MiB Mon-Fri-08:00,3MiB" || !strings.HasSuffix(l.Timetables[0].Next, ",3MiB") {
		t.Errorf("%+v", l)
	}
}
