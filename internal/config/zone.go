package config

import (
	"fmt"
	"net/netip"

	"distd/internal/names"
	"distd/internal/zone"
)

// ZoneNets are the networks of zone_net.
func (c *Config) ZoneNets() ([]netip.Prefix, error) {
	nets, err := zone.ParseNets(c.ZoneNet)
	if err != nil {
		return nil, fmt.Errorf("zone_net %w", err)
	}
	return nets, nil
}

// checkZone checks the zone's name and networks. Either does without the other:
// a name alone is compared with those of other distd, networks alone hold for all
// peers.
func (c *Config) checkZone() error {
	if c.Zone != "" {
		if err := names.Zone(c.Zone); err != nil {
			return err
		}
	}
	_, err := c.ZoneNets()
	return err
}
