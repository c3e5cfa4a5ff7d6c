package netlab

import (
	"context"
	"fmt"
	"time"

	"distd/pkg/swarm/bitmap"
)

// Fault is something that is done to a swarm while it is at work. It returns
// when nothing more will be done, or an error when the swarm does not bear it.
type Fault func(context.Context, *Swarm) error

// SeedKilledAfterOneCopy kills the first seed once every piece lies somewhere
// among the leaves.
func SeedKilledAfterOneCopy(ctx context.Context, s *Swarm) error {
	held := bitmap.New(s.Content.Torrent.Layout.NumPieces())
	err := await(ctx, 100*time.Millisecond, "every piece lies among the leaves", func() (bool, error) {
		// There is no need to look before one copy can have left the seed.
		if sent, err := s.Sent(); err != nil || sent < s.spec.Size {
			return false, err
		}
		s.collect(held)
		return held.All(), nil
	})
	if err == nil {
		s.Seeds[0].Kill()
	}
	return err
}

// SeedKilledAt60 kills the first seed when as many bytes as 60 % of the content
// have left it, waits until every leaf has all that any leaf has, and starts the
// seed again.
func SeedKilledAt60(ctx context.Context, s *Swarm) error {
	if err := s.awaitSent(ctx, 0.6); err != nil {
		return err
	}
	s.Seeds[0].Kill()
	n := s.Content.Torrent.Layout.NumPieces()
	union, all := bitmap.New(n), make([]*bitmap.Bitmap, len(s.Leaves))
	for i := range all {
		all[i] = bitmap.New(n)
	}
	err := await(ctx, 200*time.Millisecond, "every leaf has all that any leaf has", func() (bool, error) {
		for i, leaf := range s.Leaves {
			s.Content.Collect(leaf.Dir, all[i])
			union.Or(all[i])
		}
		for _, held := range all {
			if !held.Equal(union) {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		for i, held := range all {
			err = fmt.Errorf("%w; %s has %d of %d", err, s.Leaves[i].Name, held.Count(), union.Count())
		}
		return err
	}
	return s.Seeds[0].Start()
}

// OneSeedKilled kills the last seed when all seeds together have sent as many
// bytes as 30 % of the content.
func OneSeedKilled(ctx context.Context, s *Swarm) error {
	if err := s.awaitSent(ctx, 0.3); err != nil {
		return err
	}
	s.Seeds[len(s.Seeds)-1].Kill()
	return nil
}

// LeavesRestarted kills a number of leaves when the last of them has received
// half of the content, and starts them again after a pause.
func LeavesRestarted(count int, pause time.Duration) Fault {
	return func(ctx context.Context, s *Swarm) error {
		victims := s.Leaves[:count]
		for _, n := range victims {
			if err := n.received(ctx, s.spec.Size/2); err != nil {
				return err
			}
		}
		for _, n := range victims {
			n.Kill()
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		for _, n := range victims {
			if err := n.Start(); err != nil {
				return err
			}
		}
		return nil
	}
}

// CableOut unplugs the first leaf's cable for some time, when it has received
// half of the content.
func CableOut(pause time.Duration) Fault {
	return func(ctx context.Context, s *Swarm) error {
		leaf := s.Leaves[0]
		if err := leaf.received(ctx, s.spec.Size/2); err != nil {
			return err
		}
		if err := leaf.Plug(false); err != nil {
			return err
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		return leaf.Plug(true)
	}
}

// awaitSent waits until the seeds have sent a part of the content's size.
func (s *Swarm) awaitSent(ctx context.Context, part float64) error {
	return await(ctx, 20*time.Millisecond, fmt.Sprintf("the seeds have sent %.0f %%", part*100), func() (bool, error) {
		sent, err := s.Sent()
		return float64(sent) >= part*float64(s.spec.Size), err
	})
}

// collect adds to held what lies among the leaves.
func (s *Swarm) collect(held *bitmap.Bitmap) {
	for _, leaf := range s.Leaves {
		s.Content.Collect(leaf.Dir, held)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
