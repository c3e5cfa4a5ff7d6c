package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Buckets of the state file. Keys are strings, values JSON.
var (
	bucketMeta     = []byte("meta")     // "schema" -> number
	bucketChannels = []byte("channels") // channel -> channelRec
	bucketNames    = []byte("names")    // live name -> nameRec
	bucketHooks    = []byte("hooks")    // release ID -> HookRecord
	bucketJournal  = []byte("journal")  // live name -> journalRec
)

// channelRec is what the store knows about a channel.
type channelRec struct {
	Key       string `json:"key,omitempty"`     // pinned public key
	Highest   uint64 `json:"highest,omitempty"` // highest serial ever seen
	Newest    string `json:"newest,omitempty"`  // ID that the pointer names
	Pointer   []byte `json:"pointer,omitempty"`
	Signature []byte `json:"signature,omitempty"`
	Live      string `json:"live,omitempty"`
	Previous  string `json:"previous,omitempty"`  // live before Live
	Withdrawn string `json:"withdrawn,omitempty"` // rolled back from
}

// nameRec says whose a live name is.
type nameRec struct {
	Channel string `json:"channel"`
	ID      string `json:"id"`
	// Copy identifies the live file when it is not a hard link.
	Copy *fileIdent `json:"copy,omitempty"`
}

// fileIdent recognises a file that was made before.
type fileIdent struct {
	Inode uint64 `json:"inode"`
	Size  int64  `json:"size"`
	MTime int64  `json:"mtime"` // Unix nanoseconds
}

// journalRec is an activation that has begun.
type journalRec struct {
	Channel   string     `json:"channel"`
	ID        string     `json:"id"`
	Previous  string     `json:"previous,omitempty"`
	Withdrawn string     `json:"withdrawn,omitempty"`
	Copy      *fileIdent `json:"copy,omitempty"`
	Hook      bool       `json:"hook,omitempty"`  // a hook is wanted
	Again     bool       `json:"again,omitempty"` // also when it ran before
}

// schema is the version of the state file that this code reads and writes.
// migrations[i] brings version i to i+1; the first one makes a new file.
const schema = 1

var migrations = [schema]func(*bolt.Tx) error{
	func(tx *bolt.Tx) error {
		for _, b := range [][]byte{bucketMeta, bucketChannels, bucketNames, bucketHooks, bucketJournal} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		return nil
	},
}

// openState opens the state file. A new one gets its name only when it is
// whole and synced, so that a crash never leaves half a database.
func (s *Store) openState() (*bolt.DB, error) {
	_, err := s.root.Lstat(stateFile)
	if errors.Is(err, fs.ErrNotExist) {
		tmp := tmpDir + "/" + tempName("state.db")
		err = s.makeState(tmp)
		if err == nil {
			err = s.fs.rename(tmp, stateFile)
		}
		if err == nil {
			err = s.fs.syncDir(ownDir)
		}
	}
	if err != nil {
		return nil, err
	}
	db, err := s.openBolt(stateFile)
	if err != nil {
		return nil, err
	}
	if err := migrate(db); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", s.abs(stateFile), err), db.Close())
	}
	return db, nil
}

func (s *Store) makeState(name string) error {
	return s.fs.do(op{kind: "write", path: name}, func() error {
		db, err := s.openBolt(name)
		if err != nil {
			return err
		}
		return errors.Join(migrate(db), db.Sync(), db.Close())
	})
}

func (s *Store) openBolt(name string) (*bolt.DB, error) {
	db, err := bolt.Open(name, 0o600, &bolt.Options{
		Timeout:      time.Second,
		FreelistType: bolt.FreelistMapType,
		OpenFile: func(name string, flag int, mode fs.FileMode) (*os.File, error) {
			return s.root.OpenFile(name, flag, mode)
		},
	})
	switch {
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%s is damaged: %w (move it away and start again: releases and serials are found again, pinned keys and unfinished hooks are forgotten)", s.abs(name), err)
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("%s %w", s.abs(name), ErrLocked)
	case err != nil:
		return nil, explain("open", s.abs(name), err)
	}
	db.AllocSize = 1 << 20 // it is small: grow it in small steps
	return db, nil
}

// migrate brings the state file to this code's schema, in one transaction.
func migrate(db *bolt.DB) error {
	version, err := schemaOf(db)
	if err != nil || version == schema {
		return err
	}
	if version > schema {
		return fmt.Errorf("has schema %d, this distd knows %d: install the distd that wrote it, or a newer one", version, schema)
	}
	return db.Update(func(tx *bolt.Tx) error {
		for _, m := range migrations[version:] {
			if err := m(tx); err != nil {
				return err
			}
		}
		return tx.Bucket(bucketMeta).Put([]byte("schema"), binary.BigEndian.AppendUint64(nil, schema))
	})
}

func schemaOf(db *bolt.DB) (version uint64, err error) {
	err = db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketMeta)
		if b == nil {
			return nil
		}
		v := b.Get([]byte("schema"))
		if len(v) != 8 {
			return fmt.Errorf("schema version of %d bytes", len(v))
		}
		version = binary.BigEndian.Uint64(v)
		return nil
	})
	return version, err
}

// tx is a transaction on the state.
type tx struct{ *bolt.Tx }

// update changes the state; what names the change in messages. When it returns
// nil the change is durable.
func (s *Store) update(what string, fn func(tx) error) error {
	if s.step != nil {
		if err := s.step(op{kind: "transaction", path: what}); err != nil {
			return explain("record", what, err)
		}
	}
	var own error
	err := s.db.Update(func(t *bolt.Tx) error {
		own = fn(tx{t})
		return own
	})
	if err != nil && own == nil { // the database's, not fn's
		return explain("record "+what+" in", filepath.Join(s.dir, filepath.FromSlash(stateFile)), err)
	}
	return err
}

func (s *Store) view(fn func(tx) error) error {
	return s.db.View(func(t *bolt.Tx) error { return fn(tx{t}) })
}

// get returns the record of the key; ok is false when there is none.
func get[T any](t tx, bucket []byte, key string) (rec T, ok bool, err error) {
	v := t.Bucket(bucket).Get([]byte(key))
	if v == nil {
		return rec, false, nil
	}
	if err := json.Unmarshal(v, &rec); err != nil {
		return rec, false, fmt.Errorf("state: %s of %q: %w", bucket, key, err)
	}
	return rec, true, nil
}

func put[T any](t tx, bucket []byte, key string, rec T) error {
	v, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("state: %s of %q: %w", bucket, key, err)
	}
	return t.Bucket(bucket).Put([]byte(key), v)
}

func drop(t tx, bucket []byte, key string) error { return t.Bucket(bucket).Delete([]byte(key)) }

// keys lists a bucket's keys, sorted.
func keys(t tx, bucket []byte) []string {
	var out []string
	c := t.Bucket(bucket).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		out = append(out, string(k))
	}
	return slices.Clip(out)
}

// channel returns the record of a channel, empty when there is none.
func (s *Store) channel(name string) (rec channelRec, err error) {
	err = s.view(func(t tx) error {
		rec, _, err = get[channelRec](t, bucketChannels, name)
		return err
	})
	return rec, err
}

// changeChannel changes the record of a channel durably.
func (s *Store) changeChannel(what, name string, fn func(*channelRec) error) error {
	return s.update(what+" of channel "+name, func(t tx) error {
		rec, _, err := get[channelRec](t, bucketChannels, name)
		if err != nil {
			return err
		}
		if err := fn(&rec); err != nil {
			return err
		}
		return put(t, bucketChannels, name, rec)
	})
}
