package blob

// Frame is a piece of a blob on its way: Off is a multiple of Group, Data is
// the ciphertext of whole groups (only the blob's last may be short), Proof
// joins them to the root as the package comment says.
type Frame struct {
	Off   int64
	Proof [][32]byte
	Data  []byte
}
