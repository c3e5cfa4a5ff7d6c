package manifest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// LoadPublicKey returns the key that s is, or that the file s holds.
func LoadPublicKey(s string) (PublicKey, error) {
	if k, err := ParsePublicKey(s); err == nil {
		return k, nil
	}
	text, _, err := readKeyFile(s)
	if errors.Is(err, fs.ErrNotExist) {
		return PublicKey{}, fmt.Errorf("public key %q is neither a file nor a minisign public key (56 characters that begin with RW): %w", s, err)
	}
	if err != nil {
		return PublicKey{}, fmt.Errorf("public key: %w", err)
	}
	k, err := ParsePublicKey(string(text))
	if err != nil {
		return PublicKey{}, fmt.Errorf("file %s: %w", s, err)
	}
	return k, nil
}

// LoadPrivateKey reads a minisign secret key that has no password. A file that
// every user of the machine can read is refused.
func LoadPrivateKey(path string) (PrivateKey, error) {
	text, mode, err := readKeyFile(path)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("private key: %w", err)
	}
	if mode&0o007 != 0 {
		return PrivateKey{}, fmt.Errorf("private key %s can be read by every user (mode %#o): run chmod 600 on it, and make a new key if others had access", path, mode)
	}
	k, err := parsePrivateKey(text)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("private key %s: %w", path, err)
	}
	return k, nil
}

// LoadOrCreateKey loads the key of privPath, or makes one there (mode 0600)
// when there is no such file; created says so. The public half is written to
// pubPath (mode 0644) when there is none; one of another key is an error.
func LoadOrCreateKey(privPath, pubPath string) (k PrivateKey, created bool, err error) {
	k, err = LoadPrivateKey(privPath)
	if errors.Is(err, fs.ErrNotExist) {
		if created, err = createKey(privPath); err != nil {
			return PrivateKey{}, false, err
		}
		k, err = LoadPrivateKey(privPath)
	}
	if err != nil {
		return PrivateKey{}, false, err
	}
	return k, created, writePublic(k.Public(), pubPath)
}

// createKey makes a key file in one step: another process that does the same
// at the same time sees a whole key or none, and the first one stays.
func createKey(path string) (created bool, err error) {
	k, err := GenerateKey()
	if err != nil {
		return false, err
	}
	text, err := k.File()
	if err != nil {
		return false, err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, fmt.Errorf("private key: %w", err)
	}
	f, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return false, fmt.Errorf("private key: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return false, fmt.Errorf("private key: %w", err)
	}
	switch err := os.Link(f.Name(), path); {
	case errors.Is(err, fs.ErrExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("private key: %w", err)
	}
	return true, syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("private key: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("private key: %w", err)
	}
	return nil
}

func writePublic(k PublicKey, path string) error {
	old, err := LoadPublicKey(path)
	switch {
	case err == nil && old.String() == k.String():
		return nil
	case err == nil:
		return fmt.Errorf("public key file %s holds key %s, the private key beside it is %s: remove the wrong one of the two", path, old.ID(), k.ID())
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := renameio.WriteFile(path, k.File(), 0o644, renameio.IgnoreUmask()); err != nil {
		return fmt.Errorf("public key: %w", err)
	}
	return nil
}

// readKeyFile reads a file that cannot be longer than a key.
func readKeyFile(path string) ([]byte, fs.FileMode, error) {
	if strings.Contains(path, "\n") { // a damaged key rather than a path
		return nil, 0, fs.ErrNotExist
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !st.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a file", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	if len(text) > maxKeyFile {
		return nil, 0, fmt.Errorf("%s is longer than %d bytes: not a key", path, maxKeyFile)
	}
	return text, st.Mode().Perm(), nil
}
