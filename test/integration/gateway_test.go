package integration

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// gateway is an S3 server with one bucket, which everybody may read.
type gateway struct {
	*proc
	t      *testing.T
	addr   string // host and port
	cert   string // file with its certificate
	http   *http.Client
	client *minio.Core
}

const (
	bucketName   = "releases"
	bucketPrefix = "some/prefix"
	bucketID     = "test-id"
	bucketSecret = "not-to-be-told"
)

// newGateway starts the server, and lets the publishes of this test find keys,
// endpoint and certificate in their environment.
func newGateway(t *testing.T) *gateway {
	t.Helper()
	program := need(t, "versitygw")
	ip := host(t)
	g := &gateway{t: t, addr: ip + ":7070"}
	root := t.TempDir()
	must(t, os.Mkdir(filepath.Join(root, bucketName), 0o755))
	var key string
	g.cert, key = makeCert(t, ip)
	t.Setenv("AWS_ACCESS_KEY_ID", bucketID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", bucketSecret)
	t.Setenv("AWS_ENDPOINT_URL_S3", "https://"+g.addr)
	t.Setenv("SSL_CERT_FILE", g.cert)
	g.proc = start(t, program, "--port", g.addr, "--access", bucketID, "--secret", bucketSecret, "--cert", g.cert, "--key", key, "--keep-alive", "posix", root)
	pem, err := os.ReadFile(g.cert)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	g.http = &http.Client{Transport: transport}
	g.client, err = minio.NewCore(g.addr, &minio.Options{Creds: credentials.NewStaticV4(bucketID, bucketSecret, ""), Secure: true, Region: "us-east-1", Transport: transport, MaxRetries: 1})
	must(t, err)
	policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::%s/*"]}]}`, bucketName)
	await(t, 20*time.Second, "the bucket may be read by everybody", func() bool {
		return g.client.SetBucketPolicy(t.Context(), bucketName, policy) == nil
	})
	return g
}

// url is where nodes find the tree.
func (g *gateway) url() string {
	return "https://" + g.addr + "/" + bucketName + "/" + bucketPrefix
}

// to is the flag of a publish.
func (g *gateway) to() string { return "-to=s3://" + bucketName + "/" + bucketPrefix }

// upstream stands for the bucket where a test wants a seed's master.
func (g *gateway) upstream() *member {
	return &member{t: g.t, role: "bucket", args: []string{"-tls-cert=" + g.cert}}
}

// putResult is what `distd publish -to -json` prints.
type putResult struct {
	published
	Notes  []string `json:"notes"`
	Bucket struct {
		Objects int64    `json:"objects"`
		Bytes   int64    `json:"bytes"`
		Removed []string `json:"removed"`
	} `json:"bucket"`
}

func (g *gateway) publish(dir, channel, path string, args ...string) putResult {
	g.t.Helper()
	argv := append([]string{bin, "publish", "-json", "-dir=" + dir, "-channel=" + channel, g.to()}, append(args, path)...)
	out, stderr, code := run(g.t, argv...)
	if code != 0 {
		g.t.Fatalf("publish: exit code %d\n%s", code, stderr)
	}
	var p putResult
	must(g.t, json.Unmarshal([]byte(out), &p))
	return p
}

// read asks for a path of the tree as a node does, without keys.
func (g *gateway) read(base, path string) (body []byte, h http.Header, status int) {
	g.t.Helper()
	resp, err := g.http.Get(base + "/" + path)
	must(g.t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(resp.Body)
	must(g.t, err)
	return body, resp.Header, resp.StatusCode
}

// keys lists the objects below the prefix, and begun those that were not
// finished.
func (g *gateway) keys(below string) (keys []string) {
	g.t.Helper()
	prefix := bucketPrefix + "/" + below
	for o := range g.client.ListObjectsIter(g.t.Context(), bucketName, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		must(g.t, o.Err)
		keys = append(keys, o.Key[len(prefix):])
	}
	return keys
}

func (g *gateway) begun() int {
	g.t.Helper()
	r, err := g.client.ListMultipartUploads(context.Background(), bucketName, "", "", "", "", 100)
	must(g.t, err)
	return len(r.Uploads)
}
