package bucket

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"distd/internal/manifest"
)

// settle is the time for the two writes that make a release the newest: they
// are not given up half-way.
const settle = 2 * cleanup

// pair is a pointer with its signature.
type pair struct{ data, sig []byte }

var errSettle = &TemporaryError{fmt.Errorf("not done after %v", settle)}

// swap makes the pair the channel's latest.json, if the bucket still has what
// Look found there. Two objects cannot be written at once. The signature is
// first: whoever is faster there has won, and the other has changed nothing.
// Until the pointer follows, a reader that sees the old one with the new
// signature refuses the pair and asks again.
func (c *Channel) swap(ctx context.Context, to pair) error {
	if err := ctx.Err(); err != nil {
		return ended(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), settle, errSettle)
	defer cancel()
	if err := c.unchanged(ctx); err != nil {
		return err
	}
	key := c.pointerKey()
	sigTag, err := c.replace(ctx, key+sigSuffix, typeText, to.sig, c.sigTag)
	if err != nil {
		return err
	}
	etag := ""
	if c.now != nil {
		etag = c.now.etag
	}
	if _, err = c.replace(ctx, key, contentType(pointerName), to.data, etag); err == nil {
		return nil
	}
	return errors.Join(err, c.takeBack(sigTag))
}

// unchanged fails with ErrConflict when the pointer is not the one that was
// looked at. Stores without conditional writes have only this.
func (c *Channel) unchanged(ctx context.Context) error {
	data, _, err := c.get(ctx, c.pointerKey(), manifest.MaxPointer)
	if err != nil {
		return err
	}
	var old []byte
	if c.now != nil {
		old = c.now.data
	}
	if !bytes.Equal(data, old) {
		return fmt.Errorf("%s: %w", c.pointerKey(), ErrConflict)
	}
	return nil
}

// takeBack puts the signature of the old pointer where the new one is.
func (c *Channel) takeBack(sigTag string) error {
	if c.oldSig == nil {
		return nil // a signature without a pointer says nothing
	}
	ctx, cancel := context.WithTimeout(context.Background(), cleanup)
	defer cancel()
	_, err := c.replace(ctx, c.pointerKey()+sigSuffix, typeText, c.oldSig, sigTag)
	if err != nil && !errors.Is(err, ErrConflict) { // with a conflict it is already that of another
		return fmt.Errorf("the signature beside %s is not its own until the next publish: %w", c.pointerKey(), err)
	}
	return nil
}

// replace writes an object if its ETag is still the one given, or if there is
// none for "". When a write fails although it was done, as when the answer was
// lost, the object tells.
func (c *Channel) replace(ctx context.Context, key, ctype string, data []byte, etag string) (string, error) {
	now, err := c.putIf(ctx, key, ctype, data, Condition{Match: etag, Absent: etag == ""})
	if errors.Is(err, ErrUnsupported) {
		c.log.Warn("the store knows no conditional writes: only one publisher may write to it at a time", zap.String("key", key))
		c.note("the store knows no conditional writes: nothing keeps two publishers from overwriting each other")
		now, err = c.putIf(ctx, key, ctype, data, Condition{})
	}
	if err == nil {
		return now, nil
	}
	if there, o, gerr := c.get(ctx, key, manifest.MaxPointer); gerr == nil && there != nil && bytes.Equal(there, data) {
		return o.ETag, nil
	}
	return "", err
}

func (c *Channel) putIf(ctx context.Context, key, ctype string, data []byte, cond Condition) (etag string, err error) {
	sum := sha256.Sum256(data)
	text := hex.EncodeToString(sum[:])
	err = c.request(ctx, "write", key, func(ctx context.Context, _ func()) (err error) {
		etag, err = c.objects.Put(ctx, key, Head{ContentType: ctype, CacheControl: cacheCheck, Meta: map[string]string{metaSum: text}},
			Body{Reader: bytes.NewReader(data), Size: int64(len(data)), Sum: text}, cond)
		return err
	})
	return etag, err
}
