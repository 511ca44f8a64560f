// Package config is a node's data directory: where it is, what lies in it, who holds it, and the settings.
//
//	device.key    the device's identity, mode 0600, made at the first start; may be sealed with a passphrase
//	config.toml   settings, written by people only; every field has a default
//	rooms.json    the rooms of this node, their aliases, and the mounts to be made again at each start
//	peers.json    addresses to meet peers at again, and the ports that this node listened on
//	lock          held while a node runs; its content is the process id
//	control.sock  where the node answers (serve/control)
//	rooms/<id>/   what a room stores (drive/store)
//
// The two JSON files are small and are replaced as a whole by a durable write; each has a version, and a file of a later version is
// refused rather than overwritten. Losing peers.json costs nothing but time; rooms.json can be made anew from rooms/.
//
// The directory is, in this order: what --data says, PEARBOX_DATA, $XDG_DATA_HOME/pearbox, ~/.local/share/pearbox (on macOS and Windows the
// usual place for application data). PEARBOX_NETWORK, PEARBOX_BOOTSTRAP and PEARBOX_LISTEN (both separated by spaces or commas) stand above
// config.toml, flags above them.
//
// config.toml, with the defaults:
//
//	name = "alice@laptop"      # how this device introduces itself in rooms
//	network = "public"         # public, private, lan, direct
//	listen = []                # multiaddrs; empty: every interface. Port 0 (or none): the one of last time if it is free,
//	                           # else any. A port that is given and taken is an error
//	bootstrap = []             # addresses of a private network
//	metrics = ""               # HOST:PORT on loopback, like "127.0.0.1:9327": figures for Prometheus are served there
//	log = "info"               # debug, info, warn, error
//
//	[limits]
//	up = "0"                   # bytes a second to all peers together, like "2MB" or "500 KiB/s"; 0: no limit
//	down = "0"
//
//	[keep]
//	max_file = "64MiB"         # files up to this size are fetched by themselves
//	min_free = "1GiB"          # while at least this much of the disk stays free
package config
