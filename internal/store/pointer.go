package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"go.uber.org/zap"

	"distd/internal/manifest"
	"distd/internal/names"
)

// Files of a channel's folder.
const (
	pointerFile = "latest.json"
	sigSuffix   = ".minisig"
)

// SetPointer makes p, whose encoding and signature are given, the pointer of
// the channel. A serial below the highest that the channel has seen is refused
// with ErrSerial, and so is another release under the serial of the present
// one. The pair is kept in the state file, where it changes as one; the files
// in .distd/channels are copies for other programs.
func (s *Store) SetPointer(channel string, data, sig []byte, p *manifest.Pointer) error {
	if err := names.Channel(channel); err != nil {
		return err
	}
	if p.Channel != channel {
		return fmt.Errorf("pointer is of channel %q, not %q", p.Channel, channel)
	}
	files, err := s.preparePointerFiles(channel, data, sig)
	if err != nil {
		return err
	}
	err = s.changeChannel("pointer", channel, func(rec *channelRec) error {
		if p.Serial < rec.Highest {
			return fmt.Errorf("release %s of channel %s has serial %d, %d was seen before: %w", p.Manifest, channel, p.Serial, rec.Highest, ErrSerial)
		}
		if old, err := parsePointer(rec.Pointer); err == nil && old.Serial == p.Serial && old.Manifest != p.Manifest {
			return fmt.Errorf("release %s of channel %s has serial %d, which is release %s: %w", p.Manifest, channel, p.Serial, old.Manifest, ErrSerial)
		}
		rec.Highest, rec.Newest, rec.Pointer, rec.Signature = p.Serial, p.Manifest, data, sig
		return nil
	})
	if err != nil {
		files.drop()
		return err
	}
	return files.install()
}

// pointerFiles are the copies of a channel's pointer under temporary names.
type pointerFiles struct {
	fs             *disk
	dir            string
	pointer, minis string
}

// preparePointerFiles does, before the state changes, what may fail for want of
// space.
func (s *Store) preparePointerFiles(channel string, data, sig []byte) (*pointerFiles, error) {
	p := &pointerFiles{fs: s.fs, dir: channelsDir + "/" + channel, pointer: tmpDir + "/" + tempName(pointerFile), minis: tmpDir + "/" + tempName(pointerFile+sigSuffix)}
	_, err := s.root.Stat(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = s.fs.mkdir(p.dir, 0o755); err == nil {
			err = s.fs.syncDir(channelsDir)
		}
	}
	if err == nil {
		err = s.fs.write(p.minis, sig, 0o644)
	}
	if err == nil {
		err = s.fs.write(p.pointer, data, 0o644)
	}
	if err != nil {
		p.drop()
		return nil, err
	}
	return p, nil
}

// drop removes the files again.
func (p *pointerFiles) drop() {
	_ = p.fs.removeIfThere(p.pointer)
	_ = p.fs.removeIfThere(p.minis)
}

// install gives the files their names: the signature first, as readers look at
// latest.json to see whether there is something new.
func (p *pointerFiles) install() error {
	err := p.fs.rename(p.minis, p.dir+"/"+pointerFile+sigSuffix)
	if err == nil {
		err = p.fs.rename(p.pointer, p.dir+"/"+pointerFile)
	}
	if err != nil {
		p.drop()
		return err
	}
	return p.fs.syncDir(p.dir)
}

// Pointer returns the channel's pointer with its encoding and signature, or
// fs.ErrNotExist.
func (s *Store) Pointer(channel string) (data, sig []byte, p *manifest.Pointer, err error) {
	rec, err := s.channel(channel)
	if err != nil {
		return nil, nil, nil, err
	}
	if rec.Pointer == nil {
		return nil, nil, nil, fmt.Errorf("pointer of channel %q: %w", channel, fs.ErrNotExist)
	}
	if p, err = parsePointer(rec.Pointer); err != nil {
		return nil, nil, nil, fmt.Errorf("pointer of channel %q: %w", channel, err)
	}
	return rec.Pointer, rec.Signature, p, nil
}

// parsePointer decodes a pointer that was verified before it was stored.
func parsePointer(data []byte) (*manifest.Pointer, error) {
	p := new(manifest.Pointer)
	if err := json.Unmarshal(data, p); err != nil {
		return nil, err
	}
	p.Created, p.Expires = utc(p.Created), utc(p.Expires)
	return p, p.Check()
}

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC()
}

// Channels lists the channels that have a pointer, sorted.
func (s *Store) Channels() []string {
	var out []string
	err := s.view(func(t tx) error {
		for _, c := range keys(t, bucketChannels) {
			if rec, _, err := get[channelRec](t, bucketChannels, c); err == nil && rec.Pointer != nil {
				out = append(out, c)
			}
		}
		return nil
	})
	if err != nil {
		s.log.Error("cannot list channels", zap.Error(err))
	}
	return out
}

// PinnedKey returns the public key that is pinned for the channel.
func (s *Store) PinnedKey(channel string) (string, bool) {
	rec := s.known(channel)
	return rec.Key, rec.Key != ""
}

// PinKey pins the public key for the channel. When another one is pinned
// already it returns ErrPinned and changes nothing.
func (s *Store) PinKey(channel, key string) error {
	if err := names.Channel(channel); err != nil {
		return err
	}
	if key == "" {
		return fmt.Errorf("channel %s: no key to pin", channel)
	}
	if s.known(channel).Key == key {
		return nil
	}
	return s.changeChannel("key", channel, func(rec *channelRec) error {
		if rec.Key != "" && rec.Key != key {
			return fmt.Errorf("channel %s: %w: %s, not %s", channel, ErrPinned, rec.Key, key)
		}
		rec.Key = key
		return nil
	})
}

// HighestSerial returns the highest serial that the channel has ever seen; 0
// when none.
func (s *Store) HighestSerial(channel string) uint64 { return s.known(channel).Highest }

// RaiseSerial notes that the serial was seen. Lower ones change nothing.
func (s *Store) RaiseSerial(channel string, serial uint64) error {
	if err := names.Channel(channel); err != nil {
		return err
	}
	if s.known(channel).Highest >= serial {
		return nil
	}
	return s.changeChannel("serial", channel, func(rec *channelRec) error {
		rec.Highest = max(rec.Highest, serial)
		return nil
	})
}

// known returns the record of a channel for callers that take a missing or
// unreadable one as empty.
func (s *Store) known(channel string) channelRec {
	rec, err := s.channel(channel)
	if err != nil {
		s.log.Error("cannot read the state of a channel", zap.String("channel", channel), zap.Error(err))
	}
	return rec
}

// matchPointerFiles brings state and the pointer files together: the files
// follow the state, except that a channel which the state does not know, as
// after the loss of the state file, is taken from the files. Without this a
// master would begin at serial 1 again and be refused by every node.
func (s *Store) matchPointerFiles() error {
	entries, err := readDir(s.root, channelsDir)
	if err != nil {
		return explain("read folder", s.abs(channelsDir), err)
	}
	for _, e := range entries {
		if names.Channel(e.Name()) != nil {
			continue
		}
		if err := s.importPointer(e.Name()); err != nil {
			return err
		}
	}
	for _, c := range s.Channels() {
		rec := s.known(c)
		dir := channelsDir + "/" + c + "/" + pointerFile
		data, derr := s.root.ReadFile(dir)
		sig, serr := s.root.ReadFile(dir + sigSuffix)
		if derr == nil && serr == nil && string(data) == string(rec.Pointer) && string(sig) == string(rec.Signature) {
			continue
		}
		files, err := s.preparePointerFiles(c, rec.Pointer, rec.Signature)
		if err == nil {
			err = files.install()
		}
		if err != nil {
			// Only other programs read the copies.
			s.log.Error("cannot write the pointer files of a channel", zap.String("channel", c), zap.Error(err))
		}
	}
	return nil
}

func (s *Store) importPointer(channel string) error {
	if s.known(channel).Pointer != nil {
		return nil
	}
	file := channelsDir + "/" + channel + "/" + pointerFile
	data, err := s.root.ReadFile(file)
	if err != nil {
		return nil //nolint:nilerr // there is nothing to take over
	}
	sig, err := s.root.ReadFile(file + sigSuffix)
	if err != nil {
		return nil //nolint:nilerr // as above
	}
	p, err := parsePointer(data)
	if err != nil || p.Channel != channel {
		s.log.Error("pointer file is damaged and left out", zap.String("file", s.abs(file)), zap.Error(err))
		return nil
	}
	s.log.Warn("channel is not in the state file: its pointer and serial are taken from its folder", zap.String("channel", channel), zap.Uint64("serial", p.Serial))
	return s.changeChannel("pointer", channel, func(rec *channelRec) error {
		if p.Serial < rec.Highest {
			return nil
		}
		rec.Highest, rec.Newest, rec.Pointer, rec.Signature = p.Serial, p.Manifest, data, sig
		return nil
	})
}
