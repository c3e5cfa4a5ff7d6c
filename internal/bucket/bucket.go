// Package bucket puts published releases into an S3-compatible store, as the
// HTTP tree that a master serves: the bucket, or a CDN before it, then stands in
// for a master.
//
// Objects of a release never change, and all of them are there before
// latest.json names the release: a reader sees the old release or the new one.
// What an interrupted upload has left is found again and not sent twice.
//
// Nothing here has goroutines that outlive a call.
package bucket

import (
	"context"
	"errors"
	"io"
	"time"
)

// Errors that callers tell apart. A missing object is reported by an error that
// wraps fs.ErrNotExist, one that may not be read or written by one that wraps
// fs.ErrPermission.
var (
	// ErrConflict says that another publisher was faster: what was to be
	// replaced is no longer what it was.
	ErrConflict = errors.New("another publisher has changed the bucket meanwhile")
	// ErrUnsupported says that the store does not know conditional writes.
	ErrUnsupported = errors.New("not supported by the store")
	// ErrNoBucket says that there is no such bucket.
	ErrNoBucket = errors.New("there is no such bucket")
	// ErrSerial says that the bucket has a newer release than the one that is
	// to be put there.
	ErrSerial = errors.New("the bucket's release is newer")
	// ErrChanged says that a file of the release is no longer what was
	// published.
	ErrChanged = errors.New("the file is not what was published")
)

// TemporaryError is an error of a request that is worth another try.
type TemporaryError struct{ Err error }

// Error returns the text of what went wrong.
func (e *TemporaryError) Error() string { return e.Err.Error() }

// Unwrap returns what went wrong.
func (e *TemporaryError) Unwrap() error { return e.Err }

// Object is what a store tells of an object.
type Object struct {
	Key  string
	Size int64  // bytes
	ETag string // without quotes
	Meta map[string]string
}

// Keys of an object's Meta, which are set when it is written. List does not
// tell them.
const (
	metaSum     = "distd-sha256"  // of its bytes, 64 hex digits
	metaChannel = "distd-channel" // of a manifest: its channel
	metaSerial  = "distd-serial"  // of a manifest: its serial
)

// Head is what goes with the bytes of an object.
type Head struct {
	ContentType, CacheControl string
	Meta                      map[string]string
}

// Body is the bytes of one request. Sum is their SHA-256 in 64 hex digits,
// which the store checks.
type Body struct {
	io.Reader
	Size int64 // bytes
	Sum  string
}

// Condition is what must be so for a write to happen, else it fails with
// ErrConflict. The zero value is no condition.
type Condition struct {
	Match  string // the object's present ETag
	Absent bool   // there must be no such object
}

// Upload is an object that was begun in parts and not finished.
type Upload struct {
	Key, ID string
	Begun   time.Time
}

// Objects is one bucket. Its methods make one request each, or one for each
// thousand objects, do not try again, and are safe for concurrent use. Errors
// worth another try wrap a TemporaryError.
type Objects interface {
	// Stat returns an object with its Meta.
	Stat(ctx context.Context, key string) (Object, error)
	// Get returns an object of at most limit bytes.
	Get(ctx context.Context, key string, limit int64) ([]byte, Object, error)
	// Put writes an object, which appears whole or not at all.
	Put(ctx context.Context, key string, h Head, b Body, c Condition) (etag string, err error)
	// List returns the objects below a prefix; with flat set only those
	// without another slash in their names, and of the others what stands
	// before it, with the slash.
	List(ctx context.Context, prefix string, flat bool) ([]Object, error)
	// Remove removes objects; those that are not there are no error.
	Remove(ctx context.Context, keys []string) error

	// Begin begins an object in parts, which appears when it is finished.
	Begin(ctx context.Context, key string, h Head) (id string, err error)
	// PutPart writes part n, from 1.
	PutPart(ctx context.Context, key, id string, n int, b Body) (etag string, err error)
	// Finish makes the object of the parts, whose ETags are given in order.
	Finish(ctx context.Context, key, id string, etags []string) error
	// Abort removes the parts.
	Abort(ctx context.Context, key, id string) error
	// Unfinished lists what was begun below a prefix.
	Unfinished(ctx context.Context, prefix string) ([]Upload, error)
}
