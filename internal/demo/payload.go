package demo

import (
	"archive/tar"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// payloadSize is what a made payload has at least, in bytes.
const payloadSize = 64 << 20

// makePayload writes a tar with the program itself and, where there is one,
// the Go tree, filled up to payloadSize. The version makes the difference.
func makePayload(path, bin string, version int) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	count := &counter{w: f}
	w := tar.NewWriter(count)
	if err := addBytes(w, "VERSION", fmt.Appendf(nil, "%d\n", version)); err != nil {
		return err
	}
	if err := addFile(w, "distd", bin); err != nil {
		return err
	}
	if root := goRoot(); root != "" {
		if err := addTree(w, count, filepath.Join(root, "src")); err != nil {
			return err
		}
	}
	if left := payloadSize - count.n; left > 0 {
		filler := make([]byte, left)
		_, _ = mrand.NewChaCha8([32]byte{byte(version)}).Read(filler) // never fails
		if err := addBytes(w, "filler", filler); err != nil {
			return err
		}
	}
	return w.Close()
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func addBytes(w *tar.Writer, name string, b []byte) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(b)), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err := w.Write(b)
	return err
}

func addFile(w *tar.Writer, name, path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return addBytes(w, name, b)
}

// goRoot is the Go tree of this machine, or empty: not every machine has one.
func goRoot() string {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	root := strings.TrimSpace(string(out))
	if err != nil || root == "" {
		return ""
	}
	if _, err := os.Stat(filepath.Join(root, "src")); err != nil {
		return ""
	}
	return root
}

// addTree adds the files below dir until the payload is large enough.
func addTree(w *tar.Writer, count *counter, dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if count.n >= payloadSize {
			return fs.SkipAll
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return addFile(w, "go/src/"+filepath.ToSlash(rel), path)
	})
}

// secondVersion copies a file and appends a line to it.
func secondVersion(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, append(b, "second version\n"...), 0o644)
}

// makeHook writes the operator's program of a leaf: it notes what it was
// called with, one line a run.
func makeHook(dir string, m *member) (string, error) {
	path := filepath.Join(dir, m.name+".hook")
	script := fmt.Sprintf("#!/bin/sh\necho \"$DISTD_SERIAL $# $2 $3\" >> '%s'\n", hookLog(dir, m))
	return path, os.WriteFile(path, []byte(script), 0o755)
}

func hookLog(dir string, m *member) string { return filepath.Join(dir, m.name+".hooked") }

// makeCert makes the master's certificate, which its own key signs, and
// returns its file.
func makeCert(dir, addr string) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "distd demo"}, IPAddresses: []net.IP{net.ParseIP(addr)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return "", err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	cert := filepath.Join(dir, "cert.pem")
	if err := os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600); err != nil {
		return "", err
	}
	return cert, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}
