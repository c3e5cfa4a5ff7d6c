package bttrack

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// addrRange is a range of addresses, both ends included.
type addrRange struct{ from, to netip.Addr }

// addrSet is a set of addresses, as ranges in order that do not overlap.
type addrSet []addrRange

func (s addrSet) has(a netip.Addr) bool {
	i, found := slices.BinarySearchFunc(s, a, func(r addrRange, a netip.Addr) int { return r.from.Compare(a) })
	return found || i > 0 && a.Compare(s[i-1].to) <= 0 && s[i-1].from.BitLen() == a.BitLen()
}

// makeSet puts ranges into order and joins those that overlap.
func makeSet(ranges []addrRange) addrSet {
	slices.SortFunc(ranges, func(a, b addrRange) int { return cmp.Or(a.from.Compare(b.from), a.to.Compare(b.to)) })
	var out addrSet
	for _, r := range ranges {
		if last := len(out) - 1; last >= 0 && r.from.BitLen() == out[last].to.BitLen() && r.from.Compare(out[last].to) <= 0 {
			if r.to.Compare(out[last].to) > 0 {
				out[last].to = r.to
			}
			continue
		}
		out = append(out, r)
	}
	return out
}

// parseAddrs reads a file of one entry a line, each by parse. Empty lines and
// those that begin with # are passed over. The lines that make no sense are
// returned as one error; the others hold.
func parseAddrs(data []byte, parse func(string) (addrRange, error)) (addrSet, error) {
	var ranges []addrRange
	var errs []error
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		r, err := parse(line)
		switch {
		case err == nil:
			ranges = append(ranges, r)
		case len(errs) < 5:
			errs = append(errs, fmt.Errorf("line %d: %w", n, err))
		}
	}
	if err := lines.Err(); err != nil {
		errs = append(errs, err)
	}
	return makeSet(ranges), errors.Join(errs...)
}

// parseSubnet reads an entry of allowed_ips: an address with the length of its
// network, or without for itself alone.
func parseSubnet(line string) (addrRange, error) {
	line, _, _ = strings.Cut(line, " ")
	if !strings.Contains(line, "/") {
		a, err := netip.ParseAddr(line)
		return addrRange{a.Unmap(), a.Unmap()}, err
	}
	p, err := netip.ParsePrefix(line)
	if err != nil {
		return addrRange{}, err
	}
	p = p.Masked()
	return addrRange{p.Addr(), lastOf(p)}, nil
}

// lastOf is the last address of a network.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// parseRange reads an entry of banned_ips: any text with a colon behind it, and
// a range of addresses, or one.
func parseRange(line string) (addrRange, error) {
	from, to, _ := cutLast(line, "-")
	if to == "" {
		from, to = line, line[strings.LastIndex(line, " ")+1:]
		if i := strings.LastIndex(to, ":"); i >= 0 && strings.Contains(to, ".") {
			to = to[i+1:]
		}
	}
	last, err := netip.ParseAddr(strings.TrimSpace(to))
	if err != nil {
		return addrRange{}, err
	}
	// The text before may have colons, and so may the address: the longest end
	// that is an address is it.
	for rest, more := from, true; more; _, rest, more = strings.Cut(rest, ":") {
		first, err := netip.ParseAddr(strings.TrimSpace(rest))
		if err == nil && first.BitLen() == last.BitLen() {
			if first.Compare(last) > 0 {
				return addrRange{}, fmt.Errorf("range %q ends before it begins", line)
			}
			return addrRange{first, last}, nil
		}
	}
	return addrRange{}, fmt.Errorf("%q has no range of addresses", line)
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// isLocal says whether an address is one of a site's own network.
func isLocal(a netip.Addr) bool { return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() }
