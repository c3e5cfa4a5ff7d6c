package config

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Words that dht takes besides addresses.
const (
	dhtOn     = "on"
	dhtOff    = "off"
	dhtPublic = "public"
)

// DHTNodes says whether the node takes part in a DHT, with which nodes it begins
// (HOST:PORT), and whether that is the world's. Without a port for peers there is
// none.
func (c *Config) DHTNodes() (nodes []string, on, public bool) {
	nodes, on, public, err := ParseDHT(c.DHT)
	return nodes, on && err == nil && c.PeerListen != "", public
}

// ParseDHT reads what dht may be: HOST:PORT of nodes to begin with, on, off or
// public.
func ParseDHT(words []string) (nodes []string, on, public bool, err error) {
	for _, s := range words {
		switch s {
		case dhtOff:
			if len(words) > 1 {
				return nil, false, false, errors.New("dht off goes with nothing else: remove off, or the others")
			}
			return nil, false, false, nil
		case dhtPublic:
			public = true
		case dhtOn:
		default:
			if err := checkHostPort("dht", s); err != nil {
				return nil, false, false, fmt.Errorf("%w, or on, off or public", err)
			}
			nodes = append(nodes, s)
		}
	}
	return nodes, true, public, nil
}

// checkFinding checks what says where peers and news are found.
func (c *Config) checkFinding() error {
	if _, _, _, err := ParseDHT(c.DHT); err != nil {
		return err
	}
	for _, s := range c.Peer {
		if err := checkHostPort("peer", s); err != nil {
			return err
		}
	}
	if nodes, _, _ := c.DHTNodes(); c.Role == RoleLeaf && len(c.Seed) == 0 && len(nodes)+len(c.Peer) > 0 && (c.Key == "" || len(c.Channel) == 0) {
		return errors.New("a leaf that follows channels through the DHT needs channel and key: set both, or the seed that tells them")
	}
	if c.PeerListen == "" && (len(c.DHT) > 0 && c.DHT[0] != dhtOff || len(c.Peer) > 0 || c.LSD) {
		return errors.New("dht, peer and lsd want a port for peers: set peer_listen")
	}
	return nil
}

// checkHostPort checks HOST:PORT, where the host may be a name or an address.
func checkHostPort(key, s string) error {
	host, port, err := net.SplitHostPort(s)
	if err == nil && host != "" && !strings.ContainsAny(host, "/@ ") {
		if n, err := strconv.Atoi(port); err == nil && n > 0 && n <= 65535 {
			return nil
		}
	}
	return fmt.Errorf("%s %q is not HOST:PORT, such as bt.local.dc:6881", key, s)
}
