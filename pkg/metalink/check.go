package metalink

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"distd/internal/names"
)

// Bounds of sizes in bytes, which keep arithmetic on them far from overflow.
const (
	maxFileSize    = int64(1) << 50
	maxPieceLength = int64(1) << 30
)

// maxFolderCost bounds the memory that the check of names takes, in bytes:
// it remembers each folder, and a short document can name very many.
const maxFolderCost = 128 << 20

// hashSizes has the hex digits of the hashes that are known, by IANA name.
var hashSizes = map[string]int{"md5": 32, "sha-1": 40, "sha-224": 56, "sha-256": 64, "sha-384": 96, "sha-512": 128}

// hashOrder has the known hashes, weakest first.
var hashOrder = []string{"md5", "sha-1", "sha-224", "sha-256", "sha-384", "sha-512"}

// oldHashSizes has the hex digits of hashes that are only written.
var oldHashSizes = map[string]int{"md4": 32, "rmd160": 40, "crc32": 8, "ed2k": 32}

// hashOrderV3 has all hashes in the order of the `metalink` program.
var hashOrderV3 = []string{"md4", "md5", "sha-1", "sha-224", "sha-256", "sha-384", "sha-512", "rmd160", "crc32", "ed2k"}

// hashName turns the name of a hash as either version writes it into the IANA
// name. It is empty for hashes that are not known.
func hashName(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	if rest, ok := strings.CutPrefix(s, "sha"); ok && !strings.HasPrefix(rest, "-") {
		s = "sha-" + rest
	}
	if hashSizes[s] == 0 {
		return ""
	}
	return s
}

// checkHash checks hex digits against what the hash of that IANA name has.
func checkHash(name, hex string) error {
	n := max(hashSizes[name], oldHashSizes[name])
	if n == 0 {
		return fmt.Errorf("hash %.20q is not known", name)
	}
	if len(hex) != n || strings.Trim(hex, "0123456789abcdef") != "" {
		return fmt.Errorf("%s hash %.140q is not of %d hex digits", name, hex, n)
	}
	return nil
}

func scheme(s string) string {
	i := strings.Index(s, ":")
	return strings.ToLower(s[:max(i, 0)])
}

// checkURL checks that s is an absolute URL of a scheme that files are
// fetched by.
func checkURL(s string) error {
	if len(s) > MaxURLLength {
		return fmt.Errorf("URL %q... is longer than %d bytes", strings.ToValidUTF8(s[:64], "?"), MaxURLLength)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsSpace) || strings.ContainsRune(s, utf8.RuneError) {
		return fmt.Errorf("URL %q has white space in it or is not UTF-8", s)
	}
	u, err := url.Parse(s)
	if err != nil {
		return err
	}
	if !slices.Contains([]string{"http", "https", "ftp"}, u.Scheme) || u.Hostname() == "" {
		return fmt.Errorf("URL %q is not http, https or ftp with a host", s)
	}
	return nil
}

// nameSet checks the names of a document's files by themselves and together.
type nameSet struct {
	set  names.Set
	cost int
}

func (s *nameSet) add(name string) error {
	for i := range min(len(name), names.MaxPath) {
		if name[i] == '/' {
			s.cost += i + 64
		}
	}
	if s.cost > maxFolderCost {
		return errors.New("the files have too many folders")
	}
	return s.set.Add(name)
}

// check checks everything about the file but its name and URLs.
func (f *File) check() error {
	if f.Size < -1 || f.Size > maxFileSize {
		return fmt.Errorf("size %d is not between 0 and %d", f.Size, maxFileSize)
	}
	for name, hex := range f.Hashes {
		if err := checkHash(name, hex); err != nil {
			return err
		}
	}
	if n := len(f.Signatures); n > MaxSignatures {
		return fmt.Errorf("%d signatures are more than %d", n, MaxSignatures)
	}
	for _, s := range f.Signatures {
		if len(s.Text) > MaxSignature {
			return fmt.Errorf("a signature of %d bytes is larger than %d", len(s.Text), MaxSignature)
		}
	}
	if f.Pieces == nil {
		return nil
	}
	if err := f.Pieces.check(f.Size); err != nil {
		return fmt.Errorf("pieces: %w", err)
	}
	return nil
}

func (p *Pieces) check(size int64) error {
	if p.Length < 1 || p.Length > maxPieceLength {
		return fmt.Errorf("length %d is not between 1 and %d", p.Length, maxPieceLength)
	}
	if len(p.Hashes) == 0 && size != 0 {
		return errors.New("there are no hashes")
	}
	if want := (size + p.Length - 1) / p.Length; size >= 0 && int64(len(p.Hashes)) != want {
		return fmt.Errorf("%d hashes do not fit: %d bytes in pieces of %d are %d", len(p.Hashes), size, p.Length, want)
	}
	if hashSizes[p.Type] == 0 {
		return fmt.Errorf("hash %.20q is not one of pieces", p.Type)
	}
	for i, h := range p.Hashes {
		if err := checkHash(p.Type, h); err != nil {
			return fmt.Errorf("piece %d: %w", i, err)
		}
	}
	return nil
}
