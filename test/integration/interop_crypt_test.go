package integration

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// policies are the values of -encryption.
var policies = []string{"off", "allow", "require"}

// encounter is a foreign client that meets a distd with a policy.
type encounter struct {
	client  client
	crypt   crypt
	refuses string // the policy under which the two do not meet
	says    string // what distd logs then
}

func (e encounter) named(what, policy string) string {
	return strings.ReplaceAll(fmt.Sprintf("%s %s/%s %s", e.client.name, e.crypt, what, policy), " /", "/")
}

// TestEncryptionOfSeed has clients that speak plainly, encrypted or both fetch
// from seeds that refuse, allow or require encryption. Each has a release or a
// seed of its own: nobody else can give it anything.
func TestEncryptionOfSeed(t *testing.T) {
	t.Parallel()
	master := newMaster(t)
	seeds := map[string]*member{}
	for _, p := range policies {
		seeds[p] = newSeed(t, master, "", "-encryption="+p)
	}
	type meeting struct {
		encounter
		policy, release, addr, dir string
		data                       []byte
		leaf                       *proc
	}
	var meetings []*meeting
	// aria2c tries encryption first, and goes on plainly unless it is forced.
	for i, e := range []encounter{
		{foreign[0], asUsual, "", ""},
		{foreign[0], forced, "off", "peer wants encryption"},
		{foreign[1], asUsual, "", ""},
		{foreign[1], forced, "off", "peer wants encryption"},
		{foreign[1], plain, "require", "peer does not encrypt"},
	} {
		name := fmt.Sprintf("c%d", i)
		path, data := payload(t, name, 700_000+i)
		master.publish(name, path)
		for _, p := range policies {
			awaitFile(t, 30*time.Second, filepath.Join(seeds[p].dir, name), data)
			file, _ := peersAlone(t, httpGet(t, nil, seeds[p].url()+"/"+name+".torrent"))
			m := &meeting{encounter: e, policy: p, release: name, addr: host(t), dir: t.TempDir(), data: data}
			m.leaf = e.client.start(t, task{torrent: file, dir: m.dir, crypt: e.crypt, addr: m.addr})
			meetings = append(meetings, m)
		}
	}
	for _, m := range meetings {
		t.Run(m.named("seed", m.policy), func(t *testing.T) {
			seed, file := seeds[m.policy], filepath.Join(m.dir, m.release)
			if m.policy != m.refuses {
				awaitFile(t, 40*time.Second, file, m.data)
				return
			}
			await(t, 40*time.Second, "the seed refuses it", func() bool { return refused(seed.log(), m.addr, m.says) })
			m.leaf.stop(syscall.SIGTERM, 5*time.Second)
			if n := holds(file, m.data); n > len(m.data)/100 { // one byte in 256 is equal by chance where it has written zeros
				t.Errorf("it has %d bytes nevertheless", n)
			}
			if r := seed.release(m.release, 1); r.Uploaded > 0 {
				t.Errorf("the seed has sent %d bytes nevertheless", r.Uploaded)
			}
		})
	}
}

// refused says whether a log tells that a peer was refused for a reason.
func refused(log, addr, why string) bool {
	for line := range strings.Lines(log) {
		if strings.Contains(line, "connection refused") && strings.Contains(line, addr+":") && strings.Contains(line, why) {
			return true
		}
	}
	return false
}

// TestEncryptionOfFetch fetches, with each policy, from clients that speak
// plainly, encrypted or both. Each fetch has a client of its own.
func TestEncryptionOfFetch(t *testing.T) {
	t.Parallel()
	tracker := host(t)
	announce := "http://" + tracker + ":6969/announce"
	type meeting struct {
		encounter
		policy string
		*share
		to    string
		fetch *proc
	}
	var meetings []*meeting
	var hashes []string
	for i, e := range []encounter{
		{foreign[0], asUsual, "", ""},
		{foreign[0], forced, "off", ""},
		{foreign[1], plain, "require", ""},
		{foreign[1], forced, "off", ""},
		{foreign[2], plain, "", ""}, // it prefers plain connections, and takes others
		{foreign[2], forced, "off", ""},
	} {
		for j, p := range policies {
			s := newShare(t, fmt.Sprintf("c%d%s", i, p), []string{announce}, 300_000, 1000+10*i+j)
			meetings, hashes = append(meetings, &meeting{encounter: e, policy: p, share: s, to: t.TempDir()}), append(hashes, s.hash())
		}
	}
	opentracker(t, tracker, hashes...)
	for _, m := range meetings {
		m.proc = m.client.start(t, task{torrent: m.torrent, dir: m.dir, crypt: m.crypt})
	}
	for _, m := range meetings {
		await(t, 40*time.Second, m.client.name+" is listed as a seed", func() bool { n, _ := scraped(t, "http://"+tracker+":6969", m.tor); return n == 1 })
		m.fetch = start(t, fetchArgs(t, m.to, "-encryption="+m.policy, m.torrent)...)
	}
	for _, m := range meetings {
		t.Run(m.named("fetch", m.policy), func(t *testing.T) {
			if m.policy != m.refuses {
				select {
				case <-m.fetch.done:
				case <-time.After(40 * time.Second):
					t.Fatal("fetch does not come to an end")
				}
				if m.fetch.err != nil {
					t.Fatalf("fetch: %v", m.fetch.err)
				}
				awaitAll(t, time.Second, m.to, m.files)
				return
			}
			await(t, 40*time.Second, "the handshake fails twice", func() bool { return strings.Count(m.fetch.log(), "peer cannot be reached") >= 2 })
			m.fetch.stop(syscall.SIGINT, 10*time.Second)
			if !strings.Contains(m.fetch.log(), `"bytes_from_peers": 0,`) {
				t.Errorf("it has got something nevertheless, or does not say")
			}
		})
	}
}
