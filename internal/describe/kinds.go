package describe

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"hash/crc32"
	"slices"
	"strings"

	"golang.org/x/crypto/md4"       //nolint:staticcheck // weak, but what old metalinks have
	"golang.org/x/crypto/ripemd160" //nolint:staticcheck // the same
)

// kind is a digest of a whole file.
type kind struct {
	name  string // as the operator gives it
	iana  string // its key in metalink.File.Hashes
	write func() hash.Hash
	v4    bool // version 4 of metalinks has it
}

// kinds are in the order of the `metalink` program.
var kinds = []kind{
	{name: "md4", iana: "md4", write: md4.New},
	{name: "md5", iana: "md5", write: md5.New, v4: true},
	{name: "sha1", iana: "sha-1", write: sha1.New, v4: true},
	{name: "sha256", iana: "sha-256", write: sha256.New, v4: true},
	{name: "sha384", iana: "sha-384", write: sha512.New384, v4: true},
	{name: "sha512", iana: "sha-512", write: sha512.New, v4: true},
	{name: "rmd160", iana: "rmd160", write: ripemd160.New},
	{name: "crc32", iana: "crc32", write: func() hash.Hash { return crc32.NewIEEE() }},
	{name: ed2kName, iana: ed2kName, write: func() hash.Hash { return newED2K() }},
}

const (
	ed2kName   = "ed2k"
	piecesName = "sha1pieces"
)

// absent are digests of the `metalink` program that distd does not compute.
var absent = []string{"tiger", "gnunet"}

// DigestNames returns every name that Digests may have, those that are not
// computed too.
func DigestNames() []string {
	var out []string
	for _, k := range kinds {
		out = append(out, k.name)
	}
	return append(append(out, piecesName), absent...)
}

// Digests says which digests of each file are wanted.
type Digests struct {
	kinds  []kind
	pieces bool
}

// ParseDigests reads names of digests, several in one word where there are
// commas between. The warnings say what is left out and why; v4 says that a
// metalink of version 4 is to be written, which does not have all of them.
func ParseDigests(words []string, v4 bool) (d Digests, warnings []string, err error) {
	wanted := map[string]bool{}
	for _, w := range words {
		for name := range strings.SplitSeq(w, ",") {
			wanted[strings.ToLower(strings.TrimSpace(name))] = true
		}
	}
	for name := range wanted {
		if !slices.Contains(DigestNames(), name) {
			return d, nil, fmt.Errorf("digest %q is none of %s", name, strings.Join(DigestNames(), ", "))
		}
	}
	for _, name := range absent {
		if wanted[name] {
			warnings = append(warnings, fmt.Sprintf("digest %s is left out: distd does not have it, and no client needs it that has sha256 or sha1pieces", name))
		}
	}
	for _, k := range kinds {
		switch {
		case wanted[k.name] && v4 && !k.v4:
			warnings = append(warnings, fmt.Sprintf("digest %s is left out: version 4 of metalinks does not have it", k.name))
		case wanted[k.name]:
			d.kinds = append(d.kinds, k)
		}
	}
	d.pieces = wanted[piecesName]
	return d, warnings, nil
}

// None says that no digest is wanted.
func (d Digests) None() bool { return len(d.kinds) == 0 && !d.pieces }

func (d Digests) has(name string) bool {
	return slices.ContainsFunc(d.kinds, func(k kind) bool { return k.name == name })
}
