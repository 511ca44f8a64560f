package wire

import (
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/pearbox/pearbox/drive/blob"
	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
	"github.com/pearbox/pearbox/drive/room"
)

// The bodies of control frames are CBOR arrays, in this order. PROTOCOL.md has them to the byte.
type (
	msgHello struct {
		_       struct{} `cbor:",toarray"`
		Version uint8
		Nonce   nonce
		Agent   string
	}
	msgTags struct {
		_    struct{} `cbor:",toarray"`
		Tags []tag
	}
	// proofItem proves one relay key of one room.
	proofItem struct {
		_     struct{} `cbor:",toarray"`
		Tag   tag
		Proof mac
	}
	// msgOpen and msgProof: the second side opens a channel and proves, the first answers with its own proofs.
	msgOpen struct {
		_     struct{} `cbor:",toarray"`
		Chan  uint16
		Items []proofItem
	}
	msgShut struct {
		_    struct{} `cbor:",toarray"`
		Chan uint16
	}
	// msgProbe begins the comparison of heads: a summary of all that the first side would show.
	msgProbe struct {
		_    struct{} `cbor:",toarray"`
		Chan uint16
		Sum  []byte
	}
	// rangeAnswer answers the summary of the cores under a prefix.
	rangeAnswer struct {
		_      struct{} `cbor:",toarray"`
		Prefix []byte   // steps of four bits, one a byte
		Differ uint16   // bit i: branch i, or the core listed as number i, is not the same here
		Show   uint16   // bit i: the core listed as number i is to be shown
		Below  [][]byte // a summary of each branch that differs
	}
	msgRanges struct {
		_       struct{} `cbor:",toarray"`
		Chan    uint16
		Answers []rangeAnswer
	}
	// headItem announces one core. The core's id follows from room, device, kind and generation.
	headItem struct {
		_      struct{} `cbor:",toarray"`
		Device key.DeviceID
		Kind   key.Kind
		Gen    uint32
		Length uint64
		Root   key.Hash
		Sig    []byte
	}
	msgHeads struct {
		_     struct{} `cbor:",toarray"`
		Chan  uint16
		Heads []headItem
	}
	// ackItem tells that the sender holds a core up to a length that the other side has announced itself.
	ackItem struct {
		_      struct{} `cbor:",toarray"`
		Core   key.CoreID
		Length uint64
	}
	msgAcks struct {
		_    struct{} `cbor:",toarray"`
		Chan uint16
		Acks []ackItem
	}
	// msgLevel tells that all heads that the receiver has to be shown have been shown; with All also those of drive and chat.
	msgLevel struct {
		_    struct{} `cbor:",toarray"`
		Chan uint16
		All  bool
	}
	msgHaveAsk struct {
		_     struct{} `cbor:",toarray"`
		Chan  uint16
		ID    uint32
		Roots []key.Hash // BLAKE3 roots of the blobs, as in their CIDs
	}
	// haveItem tells what is held of one blob: nothing (no ranges), everything (All), or pairs of offset and length.
	haveItem struct {
		_      struct{} `cbor:",toarray"`
		All    bool
		Ranges []int64
	}
	msgHave struct {
		_     struct{} `cbor:",toarray"`
		Chan  uint16
		ID    uint32
		Items []haveItem
	}
	msgRefused struct {
		_    struct{} `cbor:",toarray"`
		Chan uint16
		Root key.Hash
		Off  int64
		Len  int64
	}
	// msgInstance tells a member, once, which of the machines that have the sender's key it is.
	msgInstance struct {
		_  struct{} `cbor:",toarray"`
		ID instance
	}
	// msgChan is about a room as a whole.
	msgChan struct {
		_    struct{} `cbor:",toarray"`
		Chan uint16
	}
	msgPing struct {
		_    struct{} `cbor:",toarray"`
		Echo uint64
	}
)

// The bodies of requests on data streams.
type (
	askTail struct {
		_    struct{} `cbor:",toarray"`
		ID   uint32
		Chan uint16
		Core key.CoreID
		From uint64
		To   uint64 // length of the head that was announced
		Max  uint32 // bytes
	}
	askBlob struct {
		_      struct{} `cbor:",toarray"`
		ID     uint32
		Chan   uint16
		Root   key.Hash
		Off    int64
		Len    int64
		Urgent bool
	}
	askSmall struct {
		_      struct{} `cbor:",toarray"`
		ID     uint32
		Chan   uint16
		Urgent bool
		Roots  []key.Hash
	}
	// askBlocks asks for single blocks of a core with their proofs, or, with Joint set, for what joins two heads.
	askBlocks struct {
		_      struct{} `cbor:",toarray"`
		ID     uint32
		Chan   uint16
		Core   key.CoreID
		Joint  bool
		Blocks []uint64
	}
	askCancel struct {
		_  struct{} `cbor:",toarray"`
		ID uint32
	}
)

var (
	encMode = must(cbor.CoreDetEncOptions().EncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		MaxArrayElements:  4096,
		MaxMapPairs:       16,
		MaxNestedLevels:   6,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic("wire: constant CBOR options: " + err.Error())
	}
	return v
}

// encode returns the whole frame of a message of this package, which always encodes.
func encode(t frameType, m any) []byte {
	return frameBytesOf(t, must(encMode.Marshal(m)))
}

// decode reads the body of a frame and lets the message check its own bounds.
func decode[M any](body []byte) (m M, err error) {
	if err := decMode.Unmarshal(body, &m); err != nil {
		return m, fmt.Errorf("%w: %w", ErrFrame, err)
	}
	if c, ok := any(&m).(interface{ check() error }); ok {
		if err := c.check(); err != nil {
			return m, fmt.Errorf("%w: %w", ErrFrame, err)
		}
	}
	return m, nil
}

func atMost(what string, n, limit int) error {
	if n > limit {
		return fmt.Errorf("%d %s, at most %d", n, what, limit)
	}
	return nil
}

func (m *msgHello) check() error { return atMost("bytes of agent", len(m.Agent), 64) }
func (m *msgTags) check() error  { return atMost("tags", len(m.Tags), maxTagsFrame) }

func (m *msgOpen) check() error {
	if len(m.Items) == 0 {
		return fmt.Errorf("a channel without a proof")
	}
	return atMost("proofs", len(m.Items), maxKeysPerRoom)
}

func (m *msgProbe) check() error { return checkSummary(m.Sum) }

// checkSummary checks the form of a summary.
func checkSummary(sum []byte) error {
	if len(sum) == 0 || len(sum) > maxSummary {
		return fmt.Errorf("a summary of %d bytes", len(sum))
	}
	switch {
	case sum[0] == formListed:
		_, err := parseListed(sum[1:])
		return err
	case sum[0] == formBranches && len(sum) == 1+branches*sumSize:
		return nil
	}
	return fmt.Errorf("a summary of %d bytes in form %d", len(sum), sum[0])
}

func (m *msgRanges) check() error {
	for i := range m.Answers {
		a := &m.Answers[i]
		if err := errors.Join(atMost("steps of a prefix", len(a.Prefix), maxPrefix), atMost("branches", len(a.Below), branches)); err != nil {
			return err
		}
		for _, step := range a.Prefix {
			if step >= branches {
				return fmt.Errorf("a step %d of a prefix", step)
			}
		}
		for _, sum := range a.Below {
			if err := checkSummary(sum); err != nil {
				return err
			}
		}
	}
	return atMost("answers", len(m.Answers), maxAnswersFrame)
}

func (m *msgHeads) check() error {
	for i := range m.Heads {
		if h := &m.Heads[i]; !h.Kind.Valid() || len(h.Sig) != 64 || h.Length == 0 || h.Length > maxLength {
			return fmt.Errorf("head %d is none", i)
		}
	}
	return atMost("heads", len(m.Heads), maxHeadsFrame)
}

func (m *msgAcks) check() error { return atMost("acks", len(m.Acks), maxHeadsFrame) }

func (m *msgHaveAsk) check() error { return atMost("blobs", len(m.Roots), maxHaveBlobs) }

func (m *msgHave) check() error {
	for _, it := range m.Items {
		if len(it.Ranges)%2 != 0 || len(it.Ranges) > 2*maxHaveRanges {
			return fmt.Errorf("%d numbers of ranges", len(it.Ranges))
		}
		end := int64(-1)
		for i := 0; i < len(it.Ranges); i += 2 {
			off, n := it.Ranges[i], it.Ranges[i+1]
			if off <= end || n <= 0 || off > blob.MaxSize || n > blob.MaxSize {
				return fmt.Errorf("range %d+%d", off, n)
			}
			end = off + n
		}
	}
	return atMost("blobs", len(m.Items), maxHaveBlobs)
}

func (m *askTail) check() error {
	if m.From >= m.To || m.To > maxLength || m.Max == 0 || m.Max > maxTailAsk {
		return fmt.Errorf("a tail [%d,%d) of %d bytes", m.From, m.To, m.Max)
	}
	return nil
}

func (m *msgRefused) check() error { return checkRange(m.Off, m.Len) }

func (m *askBlob) check() error { return checkRange(m.Off, m.Len) }

// checkRange refuses what is no range of a blob that may be asked for at once.
func checkRange(off, n int64) error {
	if off < 0 || off%blob.Group != 0 || n <= 0 || n > maxRange || off > blob.MaxSize {
		return fmt.Errorf("a range %d+%d", off, n)
	}
	return nil
}

func (m *askSmall) check() error {
	if len(m.Roots) == 0 {
		return fmt.Errorf("a batch of nothing")
	}
	return atMost("blobs", len(m.Roots), maxSmall)
}

func (m *askBlocks) check() error {
	if len(m.Blocks) == 0 || m.Joint && len(m.Blocks) != 1 {
		return fmt.Errorf("%d blocks", len(m.Blocks))
	}
	return atMost("blocks", len(m.Blocks), maxBlockAsk)
}

// headOf returns what is announced of a core.
func headOf(ci room.CoreInfo) headItem {
	return headItem{Device: ci.Device, Kind: ci.Kind, Gen: ci.Gen, Length: ci.Head.Length, Root: ci.Head.Root, Sig: ci.Head.Sig[:]}
}

// info returns the core that a head speaks of, in this room. Nothing about it is verified but that the id belongs to
// device, kind and generation.
func (h *headItem) info(r key.RoomID) room.CoreInfo {
	id := key.CoreIDOf(r, h.Device, h.Kind, h.Gen)
	return room.CoreInfo{
		ID: id, Device: h.Device, Kind: h.Kind, Gen: h.Gen, Length: h.Length,
		Head: core.Head{Core: id, Length: h.Length, Root: h.Root, Sig: [64]byte(h.Sig)},
	}
}
