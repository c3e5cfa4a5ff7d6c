package bucket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func clearEnv(t *testing.T) {
	t.Helper()
	for _, k := range []string{"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY",
		"AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"} {
		t.Setenv(k, "")
	}
	t.Setenv("HOME", t.TempDir())
}

func TestParseAddress(t *testing.T) {
	clearEnv(t)
	for text, want := range map[string]string{
		"s3://b":    "b||https://s3.amazonaws.com||",
		"s3://b/":   "b||https://s3.amazonaws.com||",
		"s3://b/p/": "b|p|https://s3.amazonaws.com||",
		"s3://b/p/q?endpoint=https://s3.example:9000&region=eu&style=path": "b|p/q|https://s3.example:9000|eu|path",
		"s3://b?endpoint=http://127.0.0.1:7070/":                           "b||http://127.0.0.1:7070||",
	} {
		a, err := ParseAddress(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := strings.Join([]string{a.Bucket, a.Prefix, a.Endpoint.String(), a.Region, a.Style}, "|"); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
	for _, text := range []string{
		"", "b", "https://b/p", "s3://", "s3:///p", "s3://b/p#x", "s3://b/a//b", "s3://b/../x", "s3://b/a b", "s3://b/a+b", "s3://b?endpoint=s3.example",
		"s3://b?endpoint=https://s3.example/path", "s3://b?endpoint=https://key:hunter2@s3.example", "s3://b?regoin=x", "s3://b?style=odd",
		"s3://key:hunter2@b/p", "s3://key:hunter2@b:x/p",
	} {
		if _, err := ParseAddress(text); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", text, err)
		}
	}
	t.Setenv("AWS_ENDPOINT_URL", "https://all.example")
	t.Setenv("AWS_DEFAULT_REGION", "north")
	if a, err := ParseAddress("s3://b"); err != nil || a.Endpoint.Host != "all.example" || a.Region != "north" {
		t.Errorf("with the environment: %+v, %v", a, err)
	}
	t.Setenv("AWS_ENDPOINT_URL_S3", "https://s3.example")
	t.Setenv("AWS_REGION", "south")
	if a, err := ParseAddress("s3://b"); err != nil || a.Endpoint.Host != "s3.example" || a.Region != "south" {
		t.Errorf("with the environment: %+v, %v", a, err)
	}
}

func connect(t *testing.T, endpoint string) (Objects, error) {
	t.Helper()
	a, err := ParseAddress("s3://bucket/pre?endpoint=" + endpoint)
	check(t, err)
	return Connect(t.Context(), a, "test")
}

func TestCredentials(t *testing.T) {
	clearEnv(t)
	if _, err := connect(t, "http://127.0.0.1:1"); !errors.Is(err, ErrNoCredentials) {
		t.Errorf("without keys: %v, want ErrNoCredentials", err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
	if _, err := connect(t, "http://127.0.0.1:1"); err != nil {
		t.Errorf("with keys: %v", err)
	}
}

// TestAnswers: what a store answers is told apart, and no message has a secret
// in it.
func TestAnswers(t *testing.T) {
	clearEnv(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "someid")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
	t.Setenv("AWS_SESSION_TOKEN", "hunter3")
	var code int
	var body string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}))
	defer srv.Close()
	o, err := connect(t, srv.URL)
	check(t, err)
	var passes *TemporaryError
	for _, c := range []struct {
		code int
		name string
		is   func(error) bool
	}{
		{404, "NoSuchKey", is(fs.ErrNotExist)},
		{404, "NoSuchUpload", is(fs.ErrNotExist)},
		{404, "NoSuchBucket", is(ErrNoBucket)},
		{403, "AccessDenied", is(fs.ErrPermission)},
		{403, "SignatureDoesNotMatch", is(fs.ErrPermission)},
		{403, "", is(fs.ErrPermission)},
		{412, "PreconditionFailed", is(ErrConflict)},
		{409, "ConditionalRequestConflict", is(ErrConflict)},
		{501, "NotImplemented", is(ErrUnsupported)},
		{503, "SlowDown", func(err error) bool { return errors.As(err, &passes) }},
		{500, "", func(err error) bool { return errors.As(err, &passes) }},
		{429, "TooManyRequests", func(err error) bool { return errors.As(err, &passes) }},
		{400, "InvalidArgument", func(err error) bool { return !errors.As(err, &passes) }},
	} {
		code, body = c.code, ""
		if c.name != "" {
			body = fmt.Sprintf("<Error><Code>%s</Code><Message>the message</Message><AWSAccessKeyId>someid</AWSAccessKeyId><StringToSign>x</StringToSign></Error>", c.name)
		}
		_, err := o.Put(t.Context(), "key", Head{}, Body{Reader: strings.NewReader("x"), Size: 1, Sum: strings.Repeat("0", 64)}, Condition{})
		if err == nil || !c.is(err) {
			t.Errorf("%d %s: %v", c.code, c.name, err)
			continue
		}
		for _, secret := range []string{"hunter2", "hunter3", "someid"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%d %s: the message %q has a secret", c.code, c.name, err)
			}
		}
	}
	srv.Close()
	if _, err := o.Stat(t.Context(), "key"); !errors.As(err, &passes) {
		t.Errorf("a server that is gone: %v, want a TemporaryError", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.Stat(ctx, "key"); errors.As(err, &passes) {
		t.Errorf("a request that was ended: %v, want no TemporaryError", err)
	}
	tls := httptest.NewTLSServer(http.NotFoundHandler())
	defer tls.Close()
	if o, err = connect(t, tls.URL); err == nil {
		_, err = o.Stat(t.Context(), "key")
	}
	if errors.As(err, &passes) || err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that is not trusted: %v", err)
	}
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}
