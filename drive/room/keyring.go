package room

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/pearbox/pearbox/drive/key"
)

// epochKeys are the keys of one epoch as far as this device has them.
type epochKeys struct {
	Content    key.Hash   `cbor:"1,keyasint"` // check of the content key
	Relay      key.Hash   `cbor:"2,keyasint"` // check of the relay key
	ContentKey key.Secret `cbor:"3,keyasint"` // zero: not here
	RelayKey   key.Secret `cbor:"4,keyasint"`
	Order      uint64     `cbor:"5,keyasint"` // in which they arrived
}

func (k epochKeys) id() key.Hash { return epochID(k.Content, k.Relay) }

// keyring holds every key of the room that this device has. It is immutable
// but for its cache of sealers; with returns a changed copy.
type keyring struct {
	stamp  key.Hash               // names this content
	epochs map[key.Hash]epochKeys // by id
	loose  map[tag]key.Secret     // relay keys by tag, of sets or of unknown epochs: from links
	byTag  map[tag]*sealer        // single epochs and loose keys
	parts  map[tag]epochKeys      // epochs by tag
}

// Keys lie in the truth table "keys": one row per epoch, one per loose key.
const (
	tableKeys = "keys"
	rowEpoch  = "e"
	rowLoose  = "l"
	rowStamp  = "stamp"
)

// loadKeyring returns the keys that the transaction sees, from the cache when
// they are the same.
func (r *Room) loadKeyring(tx Tx) (*keyring, error) {
	rows := tx.Log(tableKeys)
	stamp, err := rows.Get([]byte(rowStamp))
	if err != nil {
		return nil, fmt.Errorf("reading keys: %w", err)
	}
	if c := r.ring.Load(); c != nil && bytes.Equal(c.stamp[:], stamp) {
		return c, nil
	}
	k := &keyring{epochs: map[key.Hash]epochKeys{}, loose: map[tag]key.Secret{}}
	copy(k.stamp[:], stamp)
	for kk, v := range rows.Scan([]byte(rowEpoch), nil) {
		var e epochKeys
		if err := decode(v, &e); err != nil {
			return nil, fmt.Errorf("reading keys: %w", err)
		}
		k.epochs[key.Hash(kk[len(rowEpoch):])] = e
	}
	for kk, v := range rows.Scan([]byte(rowLoose), nil) {
		if len(v) == len(key.Secret{}) {
			k.loose[tag(kk[len(rowLoose):])] = key.Secret(v)
		}
	}
	k.prepare()
	r.ring.Store(k)
	return k, nil
}

// prepare makes the sealers.
func (k *keyring) prepare() {
	k.byTag = map[tag]*sealer{}
	k.parts = map[tag]epochKeys{}
	for t, s := range k.loose {
		k.byTag[t] = newSealer(s, key.Secret{}, nil)
	}
	for _, e := range k.epochs {
		t := tag(e.Relay[:])
		k.parts[t] = e
		if !e.RelayKey.IsZero() {
			k.byTag[t] = newSealer(e.RelayKey, e.ContentKey, nil)
		}
	}
}

// clone returns a copy to be changed, then committed with save.
func (k *keyring) clone() *keyring {
	return &keyring{stamp: k.stamp, epochs: maps.Clone(k.epochs), loose: maps.Clone(k.loose)}
}

// addEpoch merges what became known of an epoch. It reports whether that is
// more than before. Keys that do not match their checks are not taken.
func (k *keyring) addEpoch(content, relay key.Hash, contentKey, relayKey key.Secret) bool {
	id := epochID(content, relay)
	e, ok := k.epochs[id]
	if !ok {
		e = epochKeys{Content: content, Relay: relay, Order: uint64(len(k.epochs))}
	}
	more := false
	if e.ContentKey.IsZero() && !contentKey.IsZero() && check(contentKey) == content {
		e.ContentKey, more = contentKey, true
	}
	if e.RelayKey.IsZero() && !relayKey.IsZero() && check(relayKey) == relay {
		e.RelayKey, more = relayKey, true
	}
	if more {
		k.epochs[id] = e
	}
	return more
}

// addLoose notes a relay key of which nothing but its tag is known.
func (k *keyring) addLoose(relay key.Secret) bool {
	t := tagOf(relay)
	if _, ok := k.loose[t]; ok {
		return false
	}
	k.loose[t] = relay
	return true
}

// save writes the ring where it differs from the stored one.
func (k *keyring) save(rows Rows, old *keyring) error {
	h := k.stamp
	for id, e := range k.epochs {
		if old != nil && old.epochs[id] == e {
			continue
		}
		b, err := encode(e)
		if err != nil {
			return err
		}
		rc, cc := check(e.RelayKey), check(e.ContentKey)
		h = key.Derive(key.UseStateHash, h[:], []byte(rowEpoch), id[:], rc[:], cc[:])
		if err := rows.Put(append([]byte(rowEpoch), id[:]...), b); err != nil {
			return fmt.Errorf("storing keys: %w", err)
		}
	}
	for t, s := range k.loose {
		if old != nil && old.loose[t] == s {
			continue
		}
		h = key.Derive(key.UseStateHash, h[:], []byte(rowLoose), t[:])
		if err := rows.Put(append([]byte(rowLoose), t[:]...), s[:]); err != nil {
			return fmt.Errorf("storing keys: %w", err)
		}
	}
	k.stamp = h
	if err := rows.Put([]byte(rowStamp), h[:]); err != nil {
		return fmt.Errorf("storing keys: %w", err)
	}
	k.prepare()
	return nil
}

// errNoKey says that a block's keys are not here.
var errNoKey = errors.New("no key")

// sealerFor returns what opens a block. errNoKey when the keys are not here;
// ErrFormat when the block names keys that do not make its tag.
func (k *keyring) sealerFor(e envelope) (*sealer, error) {
	if len(e.components) == 0 {
		if s := k.byTag[e.tag]; s != nil {
			return s, nil
		}
		return nil, errNoKey
	}
	s, err := k.compose(e.components)
	if err != nil {
		if s := k.byTag[e.tag]; s != nil {
			return s, nil
		}
		return nil, err
	}
	if s.tag != e.tag {
		return nil, fmt.Errorf("%w: the epochs do not make the key", ErrFormat)
	}
	return s, nil
}

// compose returns the sealer of several concurrent epochs, named by their
// tags in order. Its content key is known when all of theirs are.
func (k *keyring) compose(components []tag) (*sealer, error) {
	if len(components) == 1 {
		if s := k.byTag[components[0]]; s != nil {
			return s, nil
		}
		return nil, errNoKey
	}
	relays := [][]byte{[]byte("relay")}
	contents := [][]byte{[]byte("content")}
	for _, t := range components {
		e, ok := k.parts[t]
		if !ok || e.RelayKey.IsZero() {
			return nil, errNoKey
		}
		relays = append(relays, e.RelayKey[:])
		if contents != nil && !e.ContentKey.IsZero() {
			contents = append(contents, e.ContentKey[:])
		} else {
			contents = nil
		}
	}
	var content key.Secret
	if contents != nil {
		content = key.Derive(key.UseWriteKey, contents...)
	}
	return newSealer(key.Derive(key.UseWriteKey, relays...), content, slices.Clone(components)), nil
}

// forHeads returns what to seal under, given the epochs that are current.
func (k *keyring) forHeads(heads []*epochState) (*sealer, error) {
	if len(heads) == 0 || len(heads) > MaxEpochHeads {
		return nil, fmt.Errorf("%d current epochs: %w", len(heads), errNoKey)
	}
	tags := make([]tag, len(heads))
	for i, h := range heads {
		tags[i] = h.tag()
	}
	slices.SortFunc(tags, func(a, b tag) int { return bytes.Compare(a[:], b[:]) })
	return k.compose(tags)
}

// relayKeys returns the relay keys that a header hands on: the newest ones.
func (k *keyring) relayKeys() []relayKey {
	all := slices.Collect(maps.Values(k.epochs))
	all = slices.DeleteFunc(all, func(e epochKeys) bool { return e.RelayKey.IsZero() })
	slices.SortFunc(all, func(a, b epochKeys) int { return int(int64(b.Order) - int64(a.Order)) })
	if len(all) > MaxRelayKeys {
		all = all[:MaxRelayKeys]
	}
	out := make([]relayKey, len(all))
	for i, e := range all {
		out[i] = relayKey{Check: e.Content, Relay: e.RelayKey}
	}
	return out
}
