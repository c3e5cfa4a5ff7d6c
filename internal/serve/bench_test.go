package serve

import (
	"io"
	"net"
	"net/http"
	"testing"
)

// BenchmarkDownload sends 64 MiB to one client over loopback: plain, where
// sendfile(2) does the work, and over TLS.
func BenchmarkDownload(b *testing.B) {
	const size = 64 << 20
	c := newCatalog()
	c.iso(b, size)
	certs, dir := certSource(b)
	for name, wrap := range map[string]func(net.Listener) net.Listener{
		"http":  func(l net.Listener) net.Listener { return l },
		"https": func(l net.Listener) net.Listener { return TLSListener(l, certs) },
	} {
		b.Run(name, func(b *testing.B) {
			s := newServer(b, Config{Catalog: c})
			ln := listen(b)
			stop := run(b, s, wrap(ln))
			tr := &http.Transport{TLSClientConfig: trusting(b, dir)}
			cl := &http.Client{Transport: tr}
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				r, err := cl.Get(name + "://" + ln.Addr().String() + "/" + escapedISO)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, r.Body); err != nil || n != size {
					b.Fatal(n, err)
				}
				_ = r.Body.Close()
			}
			tr.CloseIdleConnections()
			stop()
		})
	}
}
