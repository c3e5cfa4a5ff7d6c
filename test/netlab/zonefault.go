package netlab

import (
	"context"
	"fmt"
	"time"
)

// ZoneFault is something that is done to the first seed of the first datacenter
// while a release is on its way.
type ZoneFault func(context.Context, *Zones) error

// At does something when the first datacenter's long links have carried a part
// of the content, all together and headers included.
func At(part float64, do func(context.Context, *ZoneSeed) error) ZoneFault {
	return func(ctx context.Context, z *Zones) error {
		zone := z.Zones[0]
		what := fmt.Sprintf("%.0f %% have come over the long links", part*100)
		err := await(ctx, 5*time.Millisecond, what, func() (bool, error) { return zone.over() >= part, nil })
		if err != nil {
			return err
		}
		return do(ctx, zone.Seeds[0])
	}
}

// KillSeed kills the seed.
func KillSeed(ctx context.Context, s *ZoneSeed) error {
	s.earlier.Add(s.fromMirrors(ctx))
	s.Kill()
	return nil
}

// RestartSeed kills the seed and starts it again after a pause.
func RestartSeed(pause time.Duration) func(context.Context, *ZoneSeed) error {
	return func(ctx context.Context, s *ZoneSeed) error {
		if err := KillSeed(ctx, s); err != nil {
			return err
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		return s.Start()
	}
}

// HangLink has the seed's long link lose everything from now on.
func HangLink(_ context.Context, s *ZoneSeed) error {
	s.Link.Hang(true)
	return nil
}

// CutLink takes the seed's long link away.
func CutLink(_ context.Context, s *ZoneSeed) error { return s.Link.Cut(true) }

// FreezeSeed has the seed do nothing more, with its connections open.
func FreezeSeed(ctx context.Context, s *ZoneSeed) error {
	s.earlier.Add(s.fromMirrors(ctx))
	return s.freeze()
}
