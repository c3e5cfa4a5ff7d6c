package describe

import (
	"fmt"
	"io"
	"strings"
)

// WriteHashList writes the digests of the files that were read, one a line, as
// `metalink --hashlist` does. Hashes of pieces have no place in it.
func (r *Result) WriteHashList(w io.Writer, d Digests) error {
	var b strings.Builder
	for _, e := range r.Entries {
		if e.Listed {
			continue
		}
		for _, k := range d.kinds {
			fmt.Fprintf(&b, "%s(%s)= %s\n", strings.ToUpper(k.name), e.Path, e.File.Hashes[k.iana])
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
