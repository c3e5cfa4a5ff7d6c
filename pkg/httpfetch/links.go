package httpfetch

import (
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Bounds of what is read from the headers of an answer.
const (
	maxLinks      = 256
	maxLinkHeader = 64 << 10
	maxURL        = 4 << 10
)

// Link is one target of a Link header (RFC 8288) with the parameters of
// RFC 6249.
type Link struct {
	URL  string // absolute
	Rel  string // "duplicate", "describedby", ...
	Pri  int    // 1 to 999999, lower is better; 999999 when not given
	Pref bool   // preferred by the server
	Geo  string // two-letter country or another name of a place, lower case
	Type string // media type
	Name string // the file's name in a metalink of several
}

// parseLinks reads the Link headers of an answer for base. What is malformed,
// not HTTP(S) or over the bounds is left out.
func parseLinks(values []string, base *url.URL) []Link {
	var links []Link
	budget := maxLinkHeader
	for _, v := range values {
		if budget -= len(v); budget < 0 {
			break
		}
		for v != "" && len(links) < maxLinks {
			var target string
			var params map[string]string
			target, params, v = nextLink(v)
			if l, ok := makeLink(target, params, base); ok {
				links = append(links, l)
			}
		}
	}
	return links
}

// nextLink cuts the first link off s. The target is empty when it is malformed.
func nextLink(s string) (target string, params map[string]string, rest string) {
	s = strings.TrimLeft(s, " \t,")
	if !strings.HasPrefix(s, "<") {
		_, rest, _ = strings.Cut(s, ",")
		return "", nil, rest
	}
	target, s, ok := strings.Cut(s[1:], ">")
	if !ok {
		return "", nil, ""
	}
	params = map[string]string{}
	for {
		s = strings.TrimLeft(s, " \t")
		if !strings.HasPrefix(s, ";") {
			_, rest, _ = strings.Cut(s, ",")
			return target, params, rest
		}
		s = strings.TrimLeft(s[1:], " \t")
		end := strings.IndexAny(s, "=;, \t")
		if end < 0 {
			end = len(s)
		}
		name, value := strings.ToLower(s[:end]), ""
		s = strings.TrimLeft(s[end:], " \t")
		if strings.HasPrefix(s, "=") {
			value, s = paramValue(strings.TrimLeft(s[1:], " \t"))
		}
		if _, seen := params[name]; name != "" && !seen {
			params[name] = value
		}
	}
}

// paramValue cuts a token or quoted string off s.
func paramValue(s string) (value, rest string) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexAny(s, ";, \t")
		if end < 0 {
			end = len(s)
		}
		return s[:end], s[end:]
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:]
		case '\\':
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), ""
}

func makeLink(target string, p map[string]string, base *url.URL) (Link, bool) {
	if target == "" || len(target) > maxURL {
		return Link{}, false
	}
	u, err := base.Parse(target)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return Link{}, false
	}
	l := Link{URL: u.String(), Rel: strings.ToLower(p["rel"]), Geo: strings.ToLower(p["geo"]), Type: p["type"], Name: p["name"], Pri: 999999}
	if n, err := strconv.Atoi(p["pri"]); err == nil && n >= 1 && n <= 999999 {
		l.Pri = n
	}
	_, l.Pref = p["pref"]
	return l, l.Rel != ""
}

// digestSizes are the algorithms that are understood, by their names in Digest
// and Repr-Digest, with the name that is used here and the size in bytes.
var digestSizes = map[string]struct {
	name string
	size int
}{
	"sha-512": {"sha-512", 64}, "sha-256": {"sha-256", 32}, "sha": {"sha-1", 20}, "md5": {"md5", 16},
}

// parseDigests reads Repr-Digest (RFC 9530) and Digest (RFC 3230): lower-case
// hex by algorithm ("sha-256", "sha-512", "sha-1", "md5"). Repr-Digest decides
// when both are there. Nil when there is none.
func parseDigests(h http.Header) map[string]string {
	var out map[string]string
	for _, key := range []string{"Repr-Digest", "Digest"} {
		text := strings.Join(h.Values(key), ",")
		if len(text) > maxURL {
			continue
		}
		for item := range strings.SplitSeq(text, ",") {
			alg, value, _ := strings.Cut(strings.TrimSpace(item), "=")
			value, _, _ = strings.Cut(value, ";")
			if key == "Repr-Digest" {
				if len(value) < 2 || value[0] != ':' || value[len(value)-1] != ':' {
					continue
				}
				value = value[1 : len(value)-1]
			}
			known, ok := digestSizes[strings.ToLower(alg)]
			if !ok {
				continue
			}
			sum, err := base64.StdEncoding.DecodeString(value)
			if err != nil || len(sum) != known.size || out[known.name] != "" {
				continue
			}
			if out == nil {
				out = map[string]string{}
			}
			out[known.name] = hex.EncodeToString(sum)
		}
	}
	return out
}
