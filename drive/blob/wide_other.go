//go:build !amd64

package blob

import "lukechampine.com/blake3/guts"

const wide = false

func wideNode([]byte, uint64) guts.Node { panic("blob: there are no wide vectors") }
