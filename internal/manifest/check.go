package manifest

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"distd/internal/layout"
	"distd/internal/names"
)

// Check says whether the manifest keeps all rules: of names, of sizes and sums
// that must agree, of hashes and URLs. Encode and Open call it.
func (m *Manifest) Check() error {
	if err := checkHead(m.Format, m.Channel, m.Name, m.Serial, m.Created, m.Expires); err != nil {
		return err
	}
	if m.Kind != KindFile && m.Kind != KindTree {
		return fmt.Errorf("kind %q is neither %q nor %q", m.Kind, KindFile, KindTree)
	}
	if !isHex(m.InfoHash, sha1.Size) {
		return fmt.Errorf("infohash %.80q is not 40 hex digits in lower case", m.InfoHash)
	}
	if len(m.Files)+len(m.Dirs) > MaxEntries {
		return fmt.Errorf("%d files and folders are more than %d", len(m.Files)+len(m.Dirs), MaxEntries)
	}
	if err := m.checkEntries(); err != nil {
		return err
	}
	if err := checkPieces(m.Size, m.PieceLength, m.Pieces); err != nil {
		return err
	}
	if err := m.checkDeltas(); err != nil {
		return err
	}
	return m.checkMirrors()
}

// Check says whether the pointer's fields are well-formed.
func (p *Pointer) Check() error {
	if err := checkHead(p.Format, p.Channel, p.Name, p.Serial, p.Created, p.Expires); err != nil {
		return err
	}
	if !isHex(p.InfoHash, sha1.Size) {
		return fmt.Errorf("infohash %.80q is not 40 hex digits in lower case", p.InfoHash)
	}
	if !ValidID(p.Manifest) {
		return fmt.Errorf("manifest %.80q is not 64 hex digits in lower case", p.Manifest)
	}
	return nil
}

// Matches says whether the manifest whose ID is id is the one that the pointer
// points at, and whether the two agree. A publisher who signs a pointer and a
// manifest that contradict each other is refused.
func (p *Pointer) Matches(m *Manifest, id string) error {
	if want := m.Pointer(id); *p != *want {
		return fmt.Errorf("pointer of channel %q (serial %d, name %q) does not agree with manifest %s (channel %q, serial %d, name %q): %w",
			p.Channel, p.Serial, p.Name, id, m.Channel, m.Serial, m.Name, ErrMalformed)
	}
	return nil
}

func checkHead(format int, channel, name string, serial uint64, created, expires time.Time) error {
	if format != Format {
		return fmt.Errorf("format %d is not known (this distd reads format %d): update distd", format, Format)
	}
	if err := names.Channel(channel); err != nil {
		return err
	}
	if err := names.ReleaseName(name); err != nil {
		return err
	}
	if serial == 0 || serial > MaxSerial {
		return fmt.Errorf("serial %d is not between 1 and %d", serial, uint64(MaxSerial))
	}
	if err := checkTime("created", created); err != nil {
		return err
	}
	if expires.IsZero() {
		return nil
	}
	if err := checkTime("expires", expires); err != nil {
		return err
	}
	if !expires.After(created) {
		return fmt.Errorf("expires %s is not after created %s", expires, created)
	}
	return nil
}

func checkTime(what string, t time.Time) error {
	if t.Unix() <= 0 || t.Unix() > MaxMTime || t.Nanosecond() != 0 || t.Location() != time.UTC {
		return fmt.Errorf("%s %s is not a time after 1970 in UTC and whole seconds", what, t)
	}
	return nil
}

// checkEntries checks files, symlinks and folders, by themselves and together.
func (m *Manifest) checkEntries() error {
	var set names.Set
	var total int64
	regular := 0
	for i, f := range m.Files {
		if i > 0 && m.Files[i-1].Path >= f.Path {
			return fmt.Errorf("file %q does not come before %q: files must be sorted by path, each once", m.Files[i-1].Path, f.Path)
		}
		if m.Kind == KindFile && f.Path != m.Name {
			return fmt.Errorf("file %q is not called like its release %q", f.Path, m.Name)
		}
		if err := set.Add(m.ContentPath(f.Path)); err != nil {
			return err
		}
		if err := m.checkFile(f); err != nil {
			return fmt.Errorf("file %q: %w", f.Path, err)
		}
		if !f.InTorrent() {
			continue
		}
		regular++
		if f.Size > layout.MaxTotal-total {
			return fmt.Errorf("file %q: size %d takes the release over %d bytes", f.Path, f.Size, layout.MaxTotal)
		}
		total += f.Size
	}
	if regular == 0 {
		return errors.New("release has no files")
	}
	if total != m.Size {
		return fmt.Errorf("size %d is not the sum of the files' sizes %d", m.Size, total)
	}
	if len(m.Order) > 0 {
		if err := checkOrder(m.Order, regular); err != nil {
			return err
		}
	}
	return m.checkDirs(&set)
}

func (m *Manifest) checkFile(f File) error {
	if f.MTime < MinMTime || f.MTime > MaxMTime {
		return fmt.Errorf("mtime %d is not in the years 1 to 9999", f.MTime)
	}
	if f.Symlink != "" {
		return m.checkSymlink(f)
	}
	switch {
	case f.Mode > 0o777:
		return fmt.Errorf("mode %#o is more than permission bits", f.Mode)
	case f.Size < 0:
		return fmt.Errorf("size %d is negative", f.Size)
	case !isHex(f.SHA256, sha256.Size):
		return fmt.Errorf("sha256 %.80q is not 64 hex digits in lower case", f.SHA256)
	case f.MD5 != "" && !isHex(f.MD5, md5.Size):
		return fmt.Errorf("md5 %.80q is not 32 hex digits in lower case", f.MD5)
	}
	return m.checkHardlink(f)
}

// checkHardlink checks that a further name of a file leads straight to the first
// one and says the same of it: so there is one way to write what is linked, no
// chain and no circle.
func (m *Manifest) checkHardlink(f File) error {
	if f.Hardlink == "" {
		return nil
	}
	// What comes before in a sorted list cannot be the entry itself.
	i := m.FileIndex(f.Hardlink)
	if i < 0 || f.Hardlink >= f.Path {
		return fmt.Errorf("hard link to %.200q, which is no file before it", f.Hardlink)
	}
	to := m.Files[i]
	if !to.InTorrent() {
		return fmt.Errorf("hard link to %q, which is a link itself", f.Hardlink)
	}
	if f.Size != to.Size || f.Mode != to.Mode || f.MTime != to.MTime || f.SHA256 != to.SHA256 || f.MD5 != to.MD5 {
		return fmt.Errorf("it is %q by a hard link, and size, mode, time or sums differ", f.Hardlink)
	}
	return nil
}

func (m *Manifest) checkSymlink(f File) error {
	if m.Kind == KindFile {
		return errors.New("a release of a single file cannot be a symlink")
	}
	if f.Size != 0 || f.Mode != 0 || f.SHA256 != "" || f.MD5 != "" || f.Hardlink != "" {
		return errors.New("a symlink has no size, mode, hash or hard link")
	}
	// Without control characters and backslashes a target needs no escapes
	// that JSON writers disagree about, and is safe in messages.
	if strings.ContainsFunc(f.Symlink, unicode.IsControl) {
		return fmt.Errorf("symlink target %q has a control character in it", f.Symlink)
	}
	return names.Symlink(f.Path, f.Symlink)
}

func (m *Manifest) checkDirs(set *names.Set) error {
	if m.Kind == KindFile && len(m.Dirs) > 0 {
		return errors.New("a release of a single file has no folders")
	}
	for i, d := range m.Dirs {
		if i > 0 && m.Dirs[i-1].Path >= d.Path {
			return fmt.Errorf("folder %q does not come before %q: folders must be sorted by path, each once", m.Dirs[i-1].Path, d.Path)
		}
		if d.Mode > 0o777 {
			return fmt.Errorf("folder %q: mode %#o is more than permission bits", d.Path, d.Mode)
		}
		if d.MTime < MinMTime || d.MTime > MaxMTime {
			return fmt.Errorf("folder %q: mtime %d is not in the years 1 to 9999", d.Path, d.MTime)
		}
		if d.Path == "." {
			continue
		}
		if err := set.AddDir(m.ContentPath(d.Path)); err != nil {
			return err
		}
	}
	return nil
}

// checkPieces checks that the pieces of so many bytes have a length that is
// allowed, and a hash each.
func checkPieces(size, n int64, hashes []byte) error {
	if n < MinPieceLength || n > MaxPieceLength || n&(n-1) != 0 {
		return fmt.Errorf("piece length %d is not a power of two between %d and %d", n, MinPieceLength, MaxPieceLength)
	}
	want := (size + n - 1) / n
	if len(hashes)%sha256.Size != 0 || int64(len(hashes)/sha256.Size) != want {
		return fmt.Errorf("%d bytes of piece hashes are not the %d bytes that %d pieces need", len(hashes), want*sha256.Size, want)
	}
	return nil
}

func (m *Manifest) checkMirrors() error {
	if len(m.Mirrors) > MaxMirrors {
		return fmt.Errorf("%d mirrors are more than %d", len(m.Mirrors), MaxMirrors)
	}
	for _, r := range m.Mirrors {
		if err := r.Check(m.Kind); err != nil {
			return fmt.Errorf("mirror %.200q: %w", r.URL, err)
		}
	}
	return nil
}

// Check says whether the mirror can be one of a release of that kind.
func (r Mirror) Check(kind Kind) error {
	if r.Preference < 1 || r.Preference > 100 {
		return fmt.Errorf("preference %d is not between 1 and 100", r.Preference)
	}
	if r.Location != "" && names.Channel(r.Location) != nil {
		return fmt.Errorf("location %.64q is not of a-z, 0-9 and . _ -", r.Location)
	}
	if err := CheckURL(r.URL); err != nil {
		return err
	}
	if kind == KindTree && (!strings.HasSuffix(r.URL, "/") || strings.Contains(r.URL, "?")) {
		return errors.New("the URL of a tree must end with a slash and have no query")
	}
	return nil
}

// CheckURL says whether s is an absolute http or https URL with a host, without
// user name, password and fragment, and of at most 2,048 printable ASCII
// characters.
func CheckURL(s string) error {
	if len(s) > 2048 {
		return errors.New("URL is longer than 2048 bytes")
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= utf8.RuneSelf || c == 0x7f || c == '\\' || c == '"' || c == '<' || c == '>' {
			return fmt.Errorf("URL has %q in it, which must be percent-encoded", c)
		}
	}
	u, err := url.Parse(s)
	if err != nil {
		// url.Error repeats the URL, which the caller names already.
		if ue := (*url.Error)(nil); errors.As(err, &ue) {
			err = ue.Err
		}
		return fmt.Errorf("URL: %w", err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("URL is neither http nor https")
	case u.Hostname() == "":
		return errors.New("URL has no host")
	case u.User != nil:
		return errors.New("URL has a user name or password, which everybody could read")
	case strings.Contains(s, "#"):
		return errors.New("URL has a fragment")
	}
	return nil
}
