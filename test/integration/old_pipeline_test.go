package integration

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"distd/pkg/torrentfile"
)

// oldFile is what the old pipeline distributes.
const oldFile = "FreeBSD-8.4-BETA1-i386-dvd1.iso"

// oldMetalinkLine is the old pipeline's third step as it is.
const oldMetalinkLine = `echo -e "external 100 https % https://bt.master.internet.ip \n internal 100 bittorrent % http://bt.master \n internal 10 http http://bt.master" | metalink -d md5 FreeBSD-8.4-BETA1-i386-dvd1.iso | sed  's/<url preference="100" location="internal" type="bittorrent">\(.*\)<\/url>/<url preference="100" location="internal" type="bittorrent">\1.torrent<\/url>/g' > f.metalink`

// oldTools are the programs of the old pipeline, in the order in which they
// are run here: the tracker must be told which torrents it serves. Where a
// program is not to be had, one of its kind or its recorded output stands in.
var oldTools = []struct {
	name  string
	stock func(*oldPipeline)
	distd func(*oldPipeline)
}{
	{"btmakemetafile", (*oldPipeline).mktorrent, (*oldPipeline).distdTorrent},
	{"metalink", (*oldPipeline).recordedMetalink, (*oldPipeline).distdMetalink},
	{"web server", (*oldPipeline).nginx, (*oldPipeline).distdMaster},
	{"bttrack", (*oldPipeline).opentracker, (*oldPipeline).distdTracker},
	{"aria2c of the datacenter", (*oldPipeline).aria2Seed, (*oldPipeline).fetchSeed},
	{"aria2c of the endpoint", (*oldPipeline).aria2Leaf, (*oldPipeline).fetchLeaf},
}

// TestOldPipelineSteps runs the six steps of the old pipeline with stock tools,
// with distd in place of each of them, and in place of all.
func TestOldPipelineSteps(t *testing.T) {
	t.Parallel()
	run := func(name string, replaced func(tool int) bool) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newOldPipeline(t)
			for i, tool := range oldTools {
				step := tool.stock
				if replaced(i) {
					step = tool.distd
				}
				step(p)
			}
			p.check()
		})
	}
	run("nothing replaced", func(int) bool { return false })
	for i, tool := range oldTools {
		run(tool.name, func(tool int) bool { return tool == i })
	}
	// The master makes its own torrent and metalink, so that those of the other
	// verbs are used only without it.
	run("everything but the web server", func(tool int) bool { return oldTools[tool].name != "web server" })
	run("everything replaced", func(int) bool { return true })
}

// oldPipeline is one run of the pipeline.
type oldPipeline struct {
	t       *testing.T
	data    []byte
	dir     string // holds the file, and what is made of it
	web     string // address of the web server
	tracker string // address of the tracker
	cert    string // of the web server
	key     string

	link    string // URL of the metalink
	torrent string // URL or file of the torrent, without web seeds
	hash    string
	seedDir string
	leafDir string
	hook    string
	runs    func() []string
}

func newOldPipeline(t *testing.T) *oldPipeline {
	t.Helper()
	path, data := payload(t, oldFile, 3<<20)
	p := &oldPipeline{t: t, data: data, dir: filepath.Dir(path), web: host(t), tracker: host(t), seedDir: t.TempDir(), leafDir: t.TempDir()}
	p.cert, p.key = makeCert(t, p.web)
	p.link, p.torrent = p.httpURL()+"/f.metalink", p.httpURL()+"/"+oldFile+".torrent"
	p.hook, p.runs = countingHook(t)
	return p
}

func (p *oldPipeline) announce() string { return "http://" + p.tracker + ":6969/announce" }
func (p *oldPipeline) httpURL() string  { return "http://" + p.web + ":6969" }
func (p *oldPipeline) httpsURL() string { return "https://" + p.web + ":8443" }

func (p *oldPipeline) mktorrent() {
	p.t.Helper()
	file := filepath.Join(p.dir, oldFile)
	if out, stderr, code := run(p.t, need(p.t, "mktorrent"), "-a", p.announce(), "-o", file+".torrent", file); code != 0 {
		p.t.Fatalf("mktorrent: %s%s", out, stderr)
	}
	p.readTorrent()
}

func (p *oldPipeline) distdTorrent() {
	p.t.Helper()
	if _, stderr, code := run(p.t, bin, "torrent", "create", p.announce(), filepath.Join(p.dir, oldFile)); code != 0 {
		p.t.Fatalf("distd torrent create: %s", stderr)
	}
	p.readTorrent()
}

// readTorrent notes the hash of the torrent that a program has made.
func (p *oldPipeline) readTorrent() {
	p.t.Helper()
	b, err := os.ReadFile(filepath.Join(p.dir, oldFile+".torrent"))
	must(p.t, err)
	tor, err := torrentfile.Parse(b)
	must(p.t, err)
	p.hash = hex.EncodeToString(tor.InfoHash[:])
}

// makeMetalink runs the old pipeline's line with a program in place of its
// metalink.
func (p *oldPipeline) makeMetalink(program string) (stderr string) {
	p.t.Helper()
	line := strings.NewReplacer("https://bt.master.internet.ip", p.httpsURL(), "http://bt.master", p.httpURL(), "| metalink ", "| "+program+" ").Replace(oldMetalinkLine)
	_, stderr, code := run(p.t, need(p.t, "bash"), "-c", `cd "$1" && `+line, "bash", p.dir)
	if code != 0 {
		p.t.Fatalf("%s: exit code %d\n%s", line, code, stderr)
	}
	return stderr
}

// recordedMetalink is what the metalink program prints, which takes a line
// without "%" for a URL.
func (p *oldPipeline) recordedMetalink() {
	p.t.Helper()
	text := fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?>
<metalink version="3.0"
  xmlns="http://www.metalinker.org/"
  generator="http://metalinks.sourceforge.net/"
  >
<files>
	<file name="%[1]s">
		<size>%[2]d</size>
		<verification>
			<hash type="md5">%[3]x</hash>
		</verification>
		<resources>
			<url preference="100" location="external" type="https">%[4]s/%[1]s</url>
			<url preference="100" location="internal" type="bittorrent">%[5]s/%[1]s</url>
			<url preference="10" location="internal" type="http">internal 10 http %[5]s/%[1]s</url>
		</resources>
	</file>
</files>
</metalink>
`, oldFile, len(p.data), md5.Sum(p.data), p.httpsURL(), p.httpURL())
	program := filepath.Join(p.t.TempDir(), "metalink")
	must(p.t, os.WriteFile(program+".out", []byte(text), 0o644))
	must(p.t, os.WriteFile(program, []byte("#!/bin/sh\ncat >/dev/null\nexec cat '"+program+".out'\n"), 0o755))
	p.makeMetalink("'" + program + "'")
}

func (p *oldPipeline) distdMetalink() {
	p.t.Helper()
	if stderr := p.makeMetalink("'" + bin + "' metalink"); !strings.Contains(stderr, "there is no % before the URL") {
		p.t.Errorf("no warning of the third line: %q", stderr)
	}
}

const oldNginxConf = `daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/err;
events { worker_connections 256; }
http { access_log off; server { listen %[2]s:6969; listen %[2]s:8443 ssl; ssl_certificate %[3]s; ssl_certificate_key %[4]s; root %[5]s; } }
`

func (p *oldPipeline) nginx() {
	p.t.Helper()
	dir := p.t.TempDir()
	conf := filepath.Join(dir, "conf")
	must(p.t, os.WriteFile(conf, fmt.Appendf(nil, oldNginxConf, dir, p.web, p.cert, p.key, p.dir), 0o644))
	start(p.t, need(p.t, "nginx"), "-c", conf)
	await(p.t, 20*time.Second, "nginx answers", func() bool {
		nc, err := net.DialTimeout("tcp", p.web+":8443", time.Second)
		if err == nil {
			_ = nc.Close()
		}
		return err == nil
	})
}

// distdMaster publishes the file, and so makes a torrent and a metalink of its
// own; clients of the endpoints are given the torrent without its web seeds.
func (p *oldPipeline) distdMaster() {
	p.t.Helper()
	dir := filepath.Join(p.t.TempDir(), "master")
	m := &member{t: p.t, role: "master", addr: p.web, dir: dir, args: []string{"-role=master", "-dir=" + dir, "-listen=" + p.web + ":8443",
		"-tls-cert=" + p.cert, "-tls-key=" + p.key, "-announce=" + p.announce()}}
	m.restart()
	p.hash = m.publish("web", filepath.Join(p.dir, oldFile)).InfoHash
	p.link = p.httpsURL() + "/" + oldFile + ".metalink"
	p.torrent, _ = peersAlone(p.t, httpGet(p.t, trusting(p.t, p.cert), p.httpsURL()+"/"+oldFile+".torrent"))
}

func (p *oldPipeline) opentracker() { opentracker(p.t, p.tracker, p.hash) }

func (p *oldPipeline) distdTracker() {
	p.t.Helper()
	start(p.t, bin, "tracker", "--dfile", filepath.Join(p.t.TempDir(), "dfile"), "--port", "6969", "--bind", p.tracker, "--reannounce_interval", "5")
	await(p.t, 20*time.Second, "the tracker answers", func() bool {
		nc, err := net.DialTimeout("tcp", p.tracker+":6969", time.Second)
		if err == nil {
			_ = nc.Close()
		}
		return err == nil
	})
}

// aria2 runs aria2c as the old pipeline does.
func (p *oldPipeline) aria2(dir string, more ...string) {
	p.t.Helper()
	argv := append([]string{need(p.t, "aria2c")}, aria2Args(host(p.t), dir)...)
	start(p.t, append(append(argv, "--ca-certificate="+p.cert), more...)...)
}

// fetch runs `distd fetch` in its place.
func (p *oldPipeline) fetch(dir string, more ...string) {
	p.t.Helper()
	start(p.t, append([]string{bin, "fetch", "--seed-ratio=0.0", "--disable-ipv6", "-V", "-d", dir, "-listen=" + host(p.t) + ":6881", "-ca=" + p.cert, "-log-level=debug"}, more...)...)
}

func (p *oldPipeline) aria2Seed() { p.aria2(p.seedDir, p.link) }
func (p *oldPipeline) fetchSeed() { p.fetch(p.seedDir, p.link) }
func (p *oldPipeline) aria2Leaf() { p.aria2(p.leafDir, "--on-bt-download-complete="+p.hook, p.torrent) }
func (p *oldPipeline) fetchLeaf() { p.fetch(p.leafDir, "-on-bt-download-complete="+p.hook, p.torrent) }

// check waits until the datacenter and its endpoint have the file, and the
// endpoint's hook has run.
func (p *oldPipeline) check() {
	p.t.Helper()
	awaitFile(p.t, 60*time.Second, filepath.Join(p.seedDir, oldFile), p.data)
	awaitFile(p.t, 60*time.Second, filepath.Join(p.leafDir, oldFile), p.data)
	run := ""
	await(p.t, 20*time.Second, "the hook has run", func() bool {
		if runs := p.runs(); len(runs) > 0 {
			run = runs[0] // the hook has made the file before it writes
		}
		return run != ""
	})
	if words := strings.Fields(run); len(words) < 3 || words[len(words)-2] != "1" || words[len(words)-1] != filepath.Join(p.leafDir, oldFile) {
		p.t.Errorf("the hook's arguments are %q", run)
	}
}
