package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"
)

// ErrNoCredentials says that no keys for the store were found.
var ErrNoCredentials = errors.New("no keys for the bucket: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or put them into ~/.aws/credentials")

// s3 is a bucket of an S3-compatible store.
type s3 struct {
	core   minio.Core
	bucket string
}

// Connect returns the bucket at the address, with keys from the environment,
// from ~/.aws, or on AWS those of the machine. It sends nothing to the bucket.
func Connect(ctx context.Context, a *Address, agent string) (Objects, error) {
	o := minio.Options{
		Secure: a.Endpoint.Scheme == "https", Region: a.Region,
		MaxRetries: 1, // request does it
	}
	aws := s3utils.IsAmazonEndpoint(*a.Endpoint)
	if o.Region == "" && !aws {
		o.Region = "us-east-1" // what stores without regions go by
	}
	switch a.Style {
	case "path":
		o.BucketLookup = minio.BucketLookupPath
	case "host":
		o.BucketLookup = minio.BucketLookupDNS
	}
	t, err := minio.DefaultTransport(o.Secure)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", a, err)
	}
	t.MaxIdleConnsPerHost = conns
	o.Transport = t
	if o.Creds, err = keys(ctx, t, aws); err != nil {
		return nil, err
	}
	core, err := minio.NewCore(a.Endpoint.Host, &o)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", a, err)
	}
	core.SetAppInfo("distd", agent)
	return &s3{core: *core, bucket: a.Bucket}, nil
}

// keys looks for the keys in the places that AWS's own tools look in.
func keys(ctx context.Context, t http.RoundTripper, aws bool) (*credentials.Credentials, error) {
	from := []credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}}
	if aws {
		// The machine's own keys are asked for on a fixed address, which
		// nothing answers elsewhere.
		from = append(from, &credentials.IAM{Client: &http.Client{Transport: t, Timeout: 5 * time.Second}})
	}
	c := credentials.NewChainCredentials(from)
	v, err := c.GetWithContext(&credentials.CredContext{Client: &http.Client{Transport: t, Timeout: 5 * time.Second}})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil || v.AccessKeyID == "" || v.SecretAccessKey == "" {
		return nil, ErrNoCredentials
	}
	return c, nil
}

func info(o minio.ObjectInfo) Object {
	out := Object{Key: o.Key, Size: o.Size, ETag: strings.Trim(o.ETag, `"`), Meta: map[string]string{}}
	for k, v := range o.UserMetadata {
		out.Meta[strings.ToLower(k)] = v
	}
	return out
}

func (s *s3) Stat(ctx context.Context, key string) (Object, error) {
	o, err := s.core.StatObject(ctx, s.bucket, key, minio.StatObjectOptions{})
	return info(o), explain(err)
}

func (s *s3) Get(ctx context.Context, key string, limit int64) ([]byte, Object, error) {
	r, o, _, err := s.core.GetObject(ctx, s.bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return nil, Object{}, explain(err)
	}
	defer func() { _ = r.Close() }() // it was only read
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		return nil, Object{}, fmt.Errorf("it has more than %d bytes", limit)
	}
	return b, info(o), explain(err)
}

// options are those of an object. The library would sum the bytes up once more
// over plain HTTP, in a form that some stores keep as the object's encoding: the
// sum is known, and goes with each request.
func options(h Head) minio.PutObjectOptions {
	return minio.PutObjectOptions{ContentType: h.ContentType, CacheControl: h.CacheControl, UserMetadata: h.Meta, DisableContentSha256: true}
}

func (s *s3) Put(ctx context.Context, key string, h Head, b Body, c Condition) (string, error) {
	o := options(h)
	switch {
	case c.Absent:
		o.SetMatchETagExcept("*")
	case c.Match != "":
		o.SetMatchETag(c.Match)
	}
	i, err := s.core.PutObject(ctx, s.bucket, key, b.Reader, b.Size, "", b.Sum, o)
	return strings.Trim(i.ETag, `"`), explain(err)
}

func (s *s3) List(ctx context.Context, prefix string, flat bool) ([]Object, error) {
	var out []Object
	for o := range s.core.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: !flat}) {
		if o.Err != nil {
			return nil, explain(o.Err)
		}
		out = append(out, info(o))
	}
	return out, ctx.Err()
}

func (s *s3) Remove(ctx context.Context, keys []string) error {
	each := func(yield func(minio.ObjectInfo) bool) {
		for _, k := range keys {
			if !yield(minio.ObjectInfo{Key: k}) {
				return
			}
		}
	}
	results, err := s.core.RemoveObjectsWithIter(ctx, s.bucket, each, minio.RemoveObjectsOptions{})
	if err != nil {
		return explain(err)
	}
	for r := range results {
		if r.Err != nil && err == nil {
			err = fmt.Errorf("%s: %w", r.ObjectName, explain(r.Err))
		}
	}
	return err
}

func (s *s3) Begin(ctx context.Context, key string, h Head) (string, error) {
	id, err := s.core.NewMultipartUpload(ctx, s.bucket, key, options(h))
	return id, explain(err)
}

func (s *s3) PutPart(ctx context.Context, key, id string, n int, b Body) (string, error) {
	p, err := s.core.PutObjectPart(ctx, s.bucket, key, id, n, b.Reader, b.Size, minio.PutObjectPartOptions{Sha256Hex: b.Sum, DisableContentSha256: true})
	return p.ETag, explain(err)
}

func (s *s3) Finish(ctx context.Context, key, id string, etags []string) error {
	parts := make([]minio.CompletePart, len(etags))
	for i, e := range etags {
		parts[i] = minio.CompletePart{PartNumber: i + 1, ETag: e}
	}
	_, err := s.core.CompleteMultipartUpload(ctx, s.bucket, key, id, parts, minio.PutObjectOptions{})
	return explain(err)
}

func (s *s3) Abort(ctx context.Context, key, id string) error {
	return explain(s.core.AbortMultipartUpload(ctx, s.bucket, key, id))
}

func (s *s3) Unfinished(ctx context.Context, prefix string) ([]Upload, error) {
	var out []Upload
	var key, id string
	for {
		r, err := s.core.ListMultipartUploads(ctx, s.bucket, prefix, key, id, "", 1000)
		if err != nil {
			return nil, explain(err)
		}
		for _, u := range r.Uploads {
			out = append(out, Upload{Key: u.Key, ID: u.UploadID, Begun: u.Initiated})
		}
		if !r.IsTruncated || r.NextKeyMarker == key && r.NextUploadIDMarker == id {
			return out, nil
		}
		key, id = r.NextKeyMarker, r.NextUploadIDMarker
	}
}
