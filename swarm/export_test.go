package swarm

import "time"

// UpgradeAfter sets the first wait of upgrades from relayed to direct connections.
func UpgradeAfter(d time.Duration) { upgradeFirst = d }
