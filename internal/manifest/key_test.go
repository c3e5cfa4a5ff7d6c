package manifest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"aead.dev/minisign"
)

func TestVerify(t *testing.T) {
	k, other := testKey(t), testKey(t)
	msg := []byte("message")
	sig := Sign(k, msg, "a comment\nof two lines")
	if err := k.Public().Verify(msg, sig); err != nil {
		t.Fatal(err)
	}
	if err := other.Public().Verify(msg, sig); !errors.Is(err, ErrKey) {
		t.Errorf("other key: %v", err)
	}
	if err := (PublicKey{}).Verify(msg, sig); !errors.Is(err, ErrKey) {
		t.Errorf("no key: %v", err)
	}
	if err := k.Public().Verify([]byte("massage"), sig); !errors.Is(err, ErrSignature) {
		t.Errorf("other message: %v", err)
	}
	if err := k.Public().Verify(msg, append(sig, make([]byte, MaxSignature)...)); !errors.Is(err, ErrSignature) {
		t.Errorf("long signature: %v", err)
	}
	if err := k.Public().Verify(msg, bytes.Replace(sig, []byte("two"), []byte("six"), 1)); !errors.Is(err, ErrSignature) {
		t.Errorf("changed comment: %v", err)
	}
	legacy := minisign.Sign(k.key, msg)
	if err := k.Public().Verify(msg, legacy); err != nil {
		t.Errorf("signature without prehash: %v", err)
	}
}

// TestEveryByteOfASignatureCounts flips each byte of the two signed lines.
func TestEveryByteOfASignatureCounts(t *testing.T) {
	k := testKey(t)
	msg := []byte("message")
	sig := Sign(k, msg, "comment")
	start := bytes.IndexByte(sig, '\n') + 1
	for i := start; i < len(sig)-1; i++ {
		bad := bytes.Clone(sig)
		bad[i] ^= 0x20
		if err := k.Public().Verify(msg, bad); err == nil {
			t.Errorf("signature with byte %d changed is accepted", i)
		}
	}
}

func TestPublicKeyForms(t *testing.T) {
	k := testKey(t).Public()
	path := filepath.Join(t.TempDir(), "publish.pub")
	if err := os.WriteFile(path, k.File(), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{k.String(), k.String() + "\n", string(k.File()), path} {
		got, err := LoadPublicKey(s)
		if err != nil || got.String() != k.String() {
			t.Errorf("%q: key %q, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "nonsense", k.String()[1:], k.String() + "AAAA", strings.Repeat("A", maxKeyFile+1), k.String() + "\n" + k.String(), filepath.Dir(path)} {
		if got, err := LoadPublicKey(s); err == nil {
			t.Errorf("%q: accepted as %q", s, got)
		}
	}
	if s := (PublicKey{}).String(); s != "" {
		t.Errorf("zero key is %q", s)
	}
}

func TestLoadOrCreateKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	priv, pub := filepath.Join(dir, "publish.key"), filepath.Join(dir, "publish.pub")
	k, created, err := LoadOrCreateKey(priv, pub)
	if err != nil || !created {
		t.Fatalf("created %v, %v", created, err)
	}
	if st, err := os.Stat(priv); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode of the private key: %v, %v", st.Mode(), err)
	}
	if err := os.Remove(pub); err != nil {
		t.Fatal(err)
	}
	again, created, err := LoadOrCreateKey(priv, pub)
	if err != nil || created || again.Public().String() != k.Public().String() {
		t.Fatalf("second load: key %s instead of %s, created %v, %v", again.Public(), k.Public(), created, err)
	}
	if got, err := LoadPublicKey(pub); err != nil || got.String() != k.Public().String() {
		t.Errorf("public key: %s, %v", got, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := os.WriteFile(pub, testKey(t).Public().File(), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := LoadOrCreateKey(priv, pub); err == nil || !strings.Contains(err.Error(), "remove the wrong one") {
		t.Errorf("public key of another pair: %v", err)
	}
}

func TestCreateKeyRace(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	keys := make([]string, 8)
	for i := range keys {
		wg.Go(func() {
			k, _, err := LoadOrCreateKey(filepath.Join(dir, "k"), filepath.Join(dir, "p"))
			if err != nil {
				t.Error(err)
			}
			keys[i] = k.Public().String()
		})
	}
	wg.Wait()
	for _, k := range keys {
		if k != keys[0] {
			t.Fatalf("keys differ: %v", keys)
		}
	}
}

func TestPrivateKeyRefused(t *testing.T) {
	dir := t.TempDir()
	k := testKey(t)
	text, err := k.File()
	if err != nil {
		t.Fatal(err)
	}
	encrypted := bytes.Clone(text) // what says "encrypted" are two bytes
	copy(encrypted[bytes.IndexByte(encrypted, '\n')+1:], "RWRTY0Iy")
	damaged := bytes.Clone(text)
	damaged[bytes.IndexByte(damaged, '\n')+100] ^= 1
	for _, c := range []struct {
		name string
		text []byte
		mode os.FileMode
		want string
	}{
		{"open", text, 0o644, "chmod 600"},
		{"encrypted", encrypted, 0o600, "password"},
		{"damaged", damaged, 0o600, "malformed"},
		{"public", k.Public().File(), 0o600, "malformed"},
		{"empty", nil, 0o600, "malformed"},
		{"long", make([]byte, maxKeyFile+1), 0o600, "longer"},
	} {
		path := filepath.Join(dir, c.name)
		if err := os.WriteFile(path, c.text, c.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadPrivateKey(path); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v, want one with %q and the path", c.name, err, c.want)
		}
	}
}

// stock runs the stock minisign.
func stock(t *testing.T, args ...string) {
	t.Helper()
	bin, err := exec.LookPath("minisign")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("minisign is not installed")
		}
		t.Skip("minisign is not installed")
	}
	if out, err := exec.Command(bin, args...).CombinedOutput(); err != nil {
		t.Fatalf("minisign %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestStockMinisign(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, b []byte) {
		if err := os.WriteFile(at(name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	k, _, err := LoadOrCreateKey(at("publish.key"), at("publish.pub"))
	if err != nil {
		t.Fatal(err)
	}
	data := mustEncode(t, treeRelease())
	write("manifest.json", data)
	write("manifest.json.minisig", Sign(k, data, "web serial 7"))
	stock(t, "-Vm", at("manifest.json"), "-p", at("publish.pub"))
	stock(t, "-Vm", at("manifest.json"), "-P", k.Public().String())

	// The other way: its signature with our key, its key with our signature.
	stock(t, "-Sm", at("manifest.json"), "-s", at("publish.key"), "-x", at("theirs"))
	sig, err := os.ReadFile(at("theirs"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(k.Public(), data, sig); err != nil {
		t.Errorf("signature of the stock minisign: %v", err)
	}
	stock(t, "-GW", "-p", at("their.pub"), "-s", at("their.key"))
	k, created, err := LoadOrCreateKey(at("their.key"), at("their.pub"))
	if err != nil || created {
		t.Fatalf("key of the stock minisign: created %v, %v", created, err)
	}
	write("manifest.json.minisig", Sign(k, data, ""))
	stock(t, "-Vm", at("manifest.json"), "-p", at("their.pub"))
}
