package bucket

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
)

// Address says where a bucket is: s3://BUCKET[/PREFIX][?endpoint=URL&region=NAME&style=path|host].
type Address struct {
	Bucket string
	Prefix string // "" or a path without slashes around it
	// Endpoint is the URL of the store, without a path.
	Endpoint *url.URL
	Region   string // "": that of the bucket, or us-east-1 outside of AWS
	// Style is how the bucket is named to the store: in the URL's path or
	// its host; "" is what the endpoint is known to want.
	Style string
}

// amazon is the endpoint when none is given.
const amazon = "https://s3.amazonaws.com"

// ParseAddress reads an address. What it does not say is taken from
// AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION and AWS_DEFAULT_REGION.
func ParseAddress(text string) (*Address, error) {
	u, err := url.Parse(text)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // the text may hold a password
		}
		return nil, fmt.Errorf("bucket's address: %w", err)
	}
	switch {
	case u.User != nil:
		return nil, errors.New("a bucket's address must not hold keys: give them in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or in ~/.aws/credentials")
	case u.Scheme != "s3":
		return nil, fmt.Errorf("%q is not a bucket's address, such as s3://bucket/prefix", text)
	case u.Host == "" || u.Fragment != "":
		return nil, fmt.Errorf("%q has no bucket, or something behind a #", text)
	}
	a := &Address{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	if err := checkPrefix(a.Prefix); err != nil {
		return nil, err
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("bucket's address: %w", err)
	}
	for k := range query {
		if k != "endpoint" && k != "region" && k != "style" {
			return nil, fmt.Errorf("bucket's address: unknown parameter %q; there are endpoint, region and style", k)
		}
	}
	a.Region = first(query.Get("region"), os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"))
	a.Style = query.Get("style")
	if a.Style != "" && a.Style != "path" && a.Style != "host" {
		return nil, fmt.Errorf("bucket's address: style %q is neither path nor host", a.Style)
	}
	a.Endpoint, err = parseEndpoint(first(query.Get("endpoint"), os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"), amazon))
	return a, err
}

func first(all ...string) string {
	for _, s := range all {
		if s != "" {
			return s
		}
	}
	return ""
}

// checkPrefix lets pass what is the same in a key and in a URL, however servers
// and clients escape it.
func checkPrefix(p string) error {
	for e := range strings.SplitSeq(p, "/") {
		if e == "." || e == ".." || e == "" && p != "" {
			return fmt.Errorf("bucket's address: the prefix %q has an element %q", p, e)
		}
	}
	for i := range len(p) {
		if c := p[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("-._~/", c) < 0 {
			return fmt.Errorf("bucket's address: the prefix %q may have letters, digits and -._~/ only", p)
		}
	}
	return nil
}

func parseEndpoint(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, errors.New("the bucket's endpoint is not a URL such as https://s3.example.com, without keys, path and query")
	}
	u.Path = ""
	return u, nil
}

// String is the address without its parameters.
func (a *Address) String() string {
	if a.Prefix == "" {
		return "s3://" + a.Bucket
	}
	return "s3://" + a.Bucket + "/" + a.Prefix
}
