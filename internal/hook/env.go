package hook

import "strconv"

// Release is what a hook is told about the release in its environment. Empty
// fields become empty variables, so that a script under `set -u` need not care.
type Release struct {
	Channel      string // DISTD_CHANNEL
	ID           string // DISTD_RELEASE
	Serial       uint64 // DISTD_SERIAL
	Dir          string // DISTD_DIR: the live path, a folder for a tree and a file otherwise
	PreviousDir  string // DISTD_PREVIOUS_DIR: the same of the release before it
	InfoHash     string // DISTD_INFOHASH
	Attempt      int    // DISTD_ATTEMPT: 1 for the first run
	ChangedFile  string // DISTD_CHANGED: a file with the changed, added and deleted paths
	ManifestFile string // DISTD_MANIFEST
}

// Env returns the DISTD_ variables, for Job.Env.
func (r Release) Env() map[string]string {
	return map[string]string{
		"DISTD_CHANNEL":      r.Channel,
		"DISTD_RELEASE":      r.ID,
		"DISTD_SERIAL":       strconv.FormatUint(r.Serial, 10),
		"DISTD_DIR":          r.Dir,
		"DISTD_PREVIOUS_DIR": r.PreviousDir,
		"DISTD_INFOHASH":     r.InfoHash,
		"DISTD_ATTEMPT":      strconv.Itoa(r.Attempt),
		"DISTD_CHANGED":      r.ChangedFile,
		"DISTD_MANIFEST":     r.ManifestFile,
	}
}
