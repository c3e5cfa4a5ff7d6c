package dht

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"github.com/google/renameio/v2"
	"go.uber.org/zap"
)

// The nodes file is text: a first line that names the form, then "id HEX", "host
// NAME" and, for each node, "node HEX ADDRESS:PORT".
const (
	nodesForm     = "distd-dht-nodes 1"
	maxSaved      = 256
	maxNodesBytes = 64 << 10
)

type nodesFile struct {
	id    [20]byte
	host  string // whose ID it is: a copy of the disk is another node
	nodes []node
}

func parseNodesFile(b []byte) (f nodesFile, err error) {
	if len(b) > maxNodesBytes {
		return f, fmt.Errorf("larger than %d bytes", maxNodesBytes)
	}
	text, whole := strings.CutSuffix(string(b), "\n")
	lines := strings.Split(text, "\n")
	if !whole || lines[0] != nodesForm {
		return f, fmt.Errorf("first line is not %q, or the last one has no end", nodesForm)
	}
	hasID := false
	for i, line := range lines[1:] {
		word, rest, _ := strings.Cut(line, " ")
		ok := false
		switch word {
		case "id":
			f.id, ok = parseID(rest)
			hasID = ok
		case "host":
			f.host, ok = rest, true
		case "node":
			id, addr, _ := strings.Cut(rest, " ")
			var n node
			if n.id, ok = parseID(id); ok {
				n.addr, err = netip.ParseAddrPort(addr)
				ok = err == nil && len(f.nodes) < maxSaved
			}
			f.nodes = append(f.nodes, n)
		}
		if !ok {
			return nodesFile{}, fmt.Errorf("line %d is not understood", i+2)
		}
	}
	if !hasID {
		return nodesFile{}, errors.New("no line with the ID")
	}
	return f, nil
}

func parseID(s string) (id [20]byte, ok bool) {
	if len(s) != 40 {
		return id, false
	}
	_, err := hex.Decode(id[:], []byte(s))
	return id, err == nil
}

func (f *nodesFile) format() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\nid %x\nhost %s\n", nodesForm, f.id, f.host)
	for _, n := range f.nodes {
		fmt.Fprintf(&b, "node %x %s\n", n.id, n.addr)
	}
	return b.Bytes()
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "" // then copies of a disk are not told apart
	}
	return strings.ReplaceAll(name, "\n", "")
}

// recall reads the nodes file.
func (n *Node) recall() {
	path := n.cfg.NodesFile
	if path == "" {
		return
	}
	f, err := readNodesFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		n.log.Warn("nodes file of the DHT is not used, and will be written anew", zap.String("file", path), zap.Error(err))
		return
	}
	if f.host == hostname() {
		n.id = f.id
	}
	for _, o := range f.nodes {
		if n.zone.node(o.addr) {
			n.old = append(n.old, o)
		}
	}
}

// ReadNodes returns the nodes that a NodesFile has. An error that is not
// fs.ErrNotExist means that the file is another program's, or damaged.
func ReadNodes(path string) ([]netip.AddrPort, error) {
	f, err := readNodesFile(path)
	if err != nil {
		return nil, fmt.Errorf("dht: read nodes from %s: %w", path, err)
	}
	out := make([]netip.AddrPort, len(f.nodes))
	for i, n := range f.nodes {
		out[i] = n.addr
	}
	return out, nil
}

func readNodesFile(path string) (nodesFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nodesFile{}, err
	}
	defer func() { _ = file.Close() }()
	b, err := io.ReadAll(io.LimitReader(file, maxNodesBytes+1))
	if err != nil {
		return nodesFile{}, err
	}
	return parseNodesFile(b)
}

// remember writes the nodes file: the nodes that are good, then earlier ones.
func (n *Node) remember() {
	path := n.cfg.NodesFile
	if path == "" {
		return
	}
	f := nodesFile{id: n.id, host: hostname()}
	seen := make(map[netip.AddrPort]bool)
	n.mu.Lock()
	list := append(n.book.good(n.now()), n.old...)
	n.mu.Unlock()
	for _, k := range list {
		if !seen[k.addr] && len(f.nodes) < maxSaved {
			seen[k.addr] = true
			f.nodes = append(f.nodes, k)
		}
	}
	n.mu.Lock()
	n.old = f.nodes
	n.mu.Unlock()
	if err := renameio.WriteFile(path, f.format(), 0o600); err != nil {
		n.log.Warn("cannot save the nodes of the DHT; check the folder's permissions and space",
			zap.String("file", path), zap.Error(err))
	}
}
