package discover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func urls(found []Found) []string {
	var all []string
	for _, f := range found {
		all = append(all, f.URL)
	}
	return all
}

func TestLookup(t *testing.T) {
	many := make([]dnsmessage.SRVResource, 300)
	for i := range many {
		many[i] = srv(uint16(300-i), 0, 6969, fmt.Sprintf("seed-%d.dc1.example.com.", i))
	}
	var lowest []string
	for i := range maxFound {
		lowest = append(lowest, fmt.Sprintf("http://seed-%d.dc1.example.com:6969", 299-i))
	}
	for name, c := range map[string]struct {
		zone    zone
		domains []string
		want    []string
		err     []string // parts of the error; none for no error
	}{
		"nothing": {zone{}, []string{"dc1.example.com", "example.com"}, nil, nil},
		"both services in one order": {
			zone{
				"_distd._tcp.dc1.example.com.":  {records: []dnsmessage.SRVResource{srv(20, 0, 6969, "b.dc1.example.com."), srv(5, 0, 6969, "A.dc1.Example.com.")}},
				"_distds._tcp.dc1.example.com.": {records: []dnsmessage.SRVResource{srv(10, 0, 8443, "master.example.com.")}},
			},
			[]string{"dc1.example.com"},
			[]string{"http://a.dc1.example.com:6969", "https://master.example.com:8443", "http://b.dc1.example.com:6969"}, nil,
		},
		"domains in the order given": {
			zone{
				"_distd._tcp.example.com.":     {records: []dnsmessage.SRVResource{srv(1, 0, 6969, "far.example.com."), srv(2, 0, 6969, "near.dc1.example.com.")}},
				"_distd._tcp.dc1.example.com.": {records: []dnsmessage.SRVResource{srv(9, 0, 6969, "near.dc1.example.com.")}},
			},
			[]string{"dc1.example.com", "example.com."},
			[]string{"http://near.dc1.example.com:6969", "http://far.example.com:6969"}, nil,
		},
		"not available": {
			zone{
				"_distd._tcp.dc1.example.com.":  {records: []dnsmessage.SRVResource{srv(0, 0, 0, ".")}},
				"_distds._tcp.dc1.example.com.": {records: []dnsmessage.SRVResource{srv(0, 0, 443, "m.example.com.")}},
			},
			[]string{"dc1.example.com"}, []string{"https://m.example.com:443"}, nil,
		},
		"alias": {
			zone{"_distd._tcp.dc1.example.com.": {cname: "seeds.example.com.", records: []dnsmessage.SRVResource{srv(0, 0, 6969, "a.example.com.")}}},
			[]string{"dc1.example.com"}, []string{"http://a.example.com:6969"}, nil,
		},
		"alias that leads nowhere": {
			zone{"_distd._tcp.dc1.example.com.": {cname: "_distd._tcp.dc1.example.com."}},
			[]string{"dc1.example.com"}, nil, nil,
		},
		"too long for UDP, and too many": {
			zone{"_distd._tcp.dc1.example.com.": {records: many}}, []string{"dc1.example.com"}, lowest, nil,
		},
		"hostile targets": {
			zone{"_distd._tcp.dc1.example.com.": {records: []dnsmessage.SRVResource{
				srv(1, 0, 6969, "a/b?c.example.com."), srv(1, 0, 6969, "user@evil.example.com."), srv(1, 0, 6969, "-x.example.com."),
				srv(1, 0, 6969, "x\n.example.com."), srv(1, 0, 6969, "10.0.0.1."), srv(1, 0, 0, "noport.example.com."), srv(2, 0, 1, "good.example.com."),
			}}},
			[]string{"dc1.example.com"}, []string{"http://good.example.com:1"}, []string{"_distd._tcp.dc1.example.com", "not usable"},
		},
		"no DNS message": {
			zone{
				"_distd._tcp.dc1.example.com.": {raw: []byte("\x84\x00\x00\x01\xff\xff\xff\xff\xff\xff\xc0\x0c\xc0\x0c")},
				"_distd._tcp.example.com.":     {records: []dnsmessage.SRVResource{srv(0, 0, 6969, "a.example.com.")}},
			},
			[]string{"dc1.example.com", "example.com"}, []string{"http://a.example.com:6969"}, []string{"_distd._tcp.dc1.example.com", "/etc/resolv.conf"},
		},
		"server fails": {
			zone{
				"_distd._tcp.dc1.example.com.":  {rcode: dnsmessage.RCodeServerFailure},
				"_distds._tcp.dc1.example.com.": {rcode: dnsmessage.RCodeRefused},
			},
			[]string{"dc1.example.com"}, nil, []string{"_distd._tcp.dc1.example.com", "_distds._tcp.dc1.example.com"},
		},
		"no domain": {zone{}, []string{"a b", strings.Repeat("x.", 125) + "com", ""}, nil, []string{`"_distd._tcp.a b"`, "no domain"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, c.zone)
			// The resolver gives up on a message that it cannot read after its time
			// is over, and tries again.
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if strings.HasPrefix(name, "no DNS") {
				ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second)
			}
			defer cancel()
			found, err := LookupIn(ctx, s.resolver(), c.domains)
			if got := urls(found); !slices.Equal(got, c.want) {
				t.Errorf("found %q, want %q", got, c.want)
			}
			if (err == nil) != (len(c.err) == 0) {
				t.Fatalf("error %v, want one with %q", err, c.err)
			}
			for _, part := range c.err {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %v, want one with %q", err, part)
				}
			}
			if name == "too long for UDP, and too many" && s.overTCP.Load() == 0 {
				t.Error("the long answer did not come over TCP")
			}
		})
	}
}

func TestQuestions(t *testing.T) {
	s := serve(t, zone{})
	found, err := LookupIn(t.Context(), s.resolver(), []string{"dc1.example.com"})
	if err != nil || len(found) > 0 {
		t.Fatal(found, err)
	}
	asked := map[string]bool{}
	for range len(s.question) {
		asked[<-s.question] = true
	}
	if len(asked) != 2 || !asked["_distd._tcp.dc1.example.com."] || !asked["_distds._tcp.dc1.example.com."] {
		t.Errorf("asked for %v", asked)
	}
}

func TestFoundTellsItsRecord(t *testing.T) {
	s := serve(t, zone{"_distds._tcp.dc1.example.com.": {records: []dnsmessage.SRVResource{srv(3, 7, 8443, "m.example.com.")}}})
	found, err := LookupIn(t.Context(), s.resolver(), []string{"dc1.example.com"})
	want := Found{URL: "https://m.example.com:8443", Domain: "dc1.example.com", Priority: 3, Weight: 7}
	if err != nil || len(found) != 1 || found[0] != want {
		t.Errorf("%+v, %v, want %+v", found, err, want)
	}
}

func TestSilentServer(t *testing.T) {
	t.Parallel()
	s := serve(t, zone{
		"_distd._tcp.dc1.example.com.": {silent: true}, "_distds._tcp.dc1.example.com.": {silent: true},
		"_distd._tcp.example.com.": {records: []dnsmessage.SRVResource{srv(0, 0, 6969, "a.example.com.")}},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	found, err := LookupIn(ctx, s.resolver(), []string{"dc1.example.com", "example.com"})
	if got := urls(found); !slices.Equal(got, []string{"http://a.example.com:6969"}) {
		t.Errorf("found %q", got)
	}
	if err == nil || !strings.Contains(err.Error(), "_distds._tcp.dc1.example.com:") || strings.Contains(err.Error(), "_tcp.example.com") {
		t.Errorf("error %v", err)
	}
}

// stuck is a resolver that answers nothing until it is told to end.
type stuck struct{}

func (stuck) LookupSRV(ctx context.Context, _, _, name string) (string, []*net.SRV, error) {
	<-ctx.Done()
	return "", nil, &net.DNSError{Err: ctx.Err().Error(), Name: name, IsTimeout: true, UnwrapErr: ctx.Err()}
}

func TestLookupEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, err := LookupIn(t.Context(), stuck{}, []string{"dc1.example.com"})
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "_distd._tcp.dc1.example.com") {
			t.Errorf("error %v", err)
		}
		if took := time.Since(began); took != patience {
			t.Errorf("ended after %v of virtual time", took)
		}
	})
}

type counting struct{ asked chan string }

func (c counting) LookupSRV(_ context.Context, _, _, name string) (string, []*net.SRV, error) {
	c.asked <- name
	return "", nil, &net.DNSError{IsNotFound: true}
}

func TestManyDomains(t *testing.T) {
	var domains []string
	for i := range 100 {
		domains = append(domains, fmt.Sprintf("d%d.example.com", i))
	}
	c := counting{make(chan string, 1000)}
	if _, err := LookupIn(t.Context(), c, domains); err != nil {
		t.Fatal(err)
	}
	if n := len(c.asked); n != 2*maxDomains {
		t.Errorf("%d questions", n)
	}
	// Without a dot at its end the resolver appends the domains that it searches.
	if name := <-c.asked; !strings.HasSuffix(name, ".example.com.") {
		t.Errorf("asked for %q", name)
	}
}

func TestOrderByWeight(t *testing.T) {
	const runs = 4000
	first := map[string]int{}
	for range runs {
		set := order([]Found{{URL: "later", Priority: 2, Weight: 65535}, {URL: "heavy", Priority: 1, Weight: 30}, {URL: "light", Priority: 1, Weight: 10}, {URL: "none", Priority: 1}})
		if len(set) != 4 || set[3].URL != "later" {
			t.Fatal(set)
		}
		if set[0].URL == set[1].URL || set[1].URL == set[2].URL || set[0].URL == set[2].URL {
			t.Fatal(set)
		}
		first[set[0].URL]++
	}
	for url, share := range map[string]float64{"heavy": 30. / 41, "light": 10. / 41, "none": 1. / 41} {
		if got := float64(first[url]) / runs; got < share*0.6 || got > share*1.4 { // 5 standard deviations and more
			t.Errorf("%s came first in %.3f of all runs, want %.3f", url, got, share)
		}
	}
	first = map[string]int{}
	for range runs {
		first[order([]Found{{URL: "a"}, {URL: "b"}})[0].URL]++
	}
	if n := first["a"]; n < runs*4/10 || n > runs*6/10 {
		t.Errorf("of two without weight one came first %d times of %d", n, runs)
	}
}
