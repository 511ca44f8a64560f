package room

import (
	"context"

	"github.com/pearbox/pearbox/drive/core"
	"github.com/pearbox/pearbox/drive/key"
)

// Room is one room on this device. It is safe for concurrent use.
type Room struct {
	st    Storage
	dev   *key.Device
	views []View
}

// Update is the transaction of Room.Update.
type Update struct {
	Tx
	r *Room
}

func Create(st Storage, dev *key.Device, name, device string, views ...View) (*Room, key.Recovery, error) {
	return nil, key.Recovery{}, ErrNoRoom
}
func Join(st Storage, dev *key.Device, link key.Link, device string, views ...View) (*Room, error) {
	return nil, ErrNoRoom
}
func Open(st Storage, dev *key.Device, views ...View) (*Room, error) { return nil, ErrNoRoom }

func (r *Room) Update(ctx context.Context, fn func(u *Update) error) error { return ErrNoRoom }
func (u *Update) Append(kind key.Kind, d Draft) (Receipt, error)           { return Receipt{}, ErrNoRoom }
func (r *Room) View(fn func(tx Tx) error) error                            { return r.st.View(fn) }
func (r *Room) Payload(id key.CoreID, seq uint64, k uint32, hash key.Hash) ([]byte, error) {
	return nil, ErrAbsent
}
func (r *Room) Entry(id key.Hash) (Counted, error)                { return Counted{}, ErrNotFound }
func (r *Room) Closure(id key.Hash) (Clock, error)                { return nil, ErrNotFound }
func (r *Room) ID() key.RoomID                                    { return key.RoomID{} }
func (r *Room) Name() string                                      { return "" }
func (r *Room) Self() key.DeviceID                                { return r.dev.ID() }
func (r *Room) Role() Role                                        { return 0 }
func (r *Room) Members() []Member                                 { return nil }
func (r *Room) Member(d key.DeviceID) (Member, bool)              { return Member{}, false }
func (r *Room) Status() Status                                    { return Status{} }
func (r *Room) Pending() []Request                                { return nil }
func (r *Room) Invites() []Invite                                 { return nil }
func (r *Room) Quarantine(limit int) ([]Counted, error)           { return nil, nil }
func (r *Room) RelayKeys() []key.Secret                           { return nil }
func (r *Room) Access(peer key.DeviceID) Access                   { return AccessNone }
func (r *Room) Cores(a Access) []CoreInfo                         { return nil }
func (r *Room) Watch(fn func(Event)) (cancel func())              { return func() {} }
func (r *Room) WantPayloads(limit int) ([]Want, error)            { return nil, nil }
func (r *Room) Rename(ctx context.Context, name string) error     { return ErrNoRoom }
func (r *Room) RenameSelf(ctx context.Context, name string) error { return ErrNoRoom }
func (r *Room) Invite(ctx context.Context, o InviteOptions) (key.Link, error) {
	return key.Link{}, ErrNoRoom
}
func (r *Room) Revoke(ctx context.Context, invite key.Hash) error              { return ErrNoRoom }
func (r *Room) Admit(ctx context.Context, join key.Hash) error                 { return ErrNoRoom }
func (r *Room) Refuse(ctx context.Context, join key.Hash, reason string) error { return ErrNoRoom }
func (r *Room) SetRole(ctx context.Context, d key.DeviceID, role Role) error   { return ErrNoRoom }
func (r *Room) Remove(ctx context.Context, d key.DeviceID) error               { return ErrNoRoom }
func (r *Room) Leave(ctx context.Context) error                                { return ErrNoRoom }
func (r *Room) Adopt(ctx context.Context, id key.CoreID, length uint64) error  { return ErrNoRoom }

// ReadTail returns what follows block from of a core, at most about maxBytes.
func (r *Room) ReadTail(id key.CoreID, from uint64, maxBytes int) (core.Tail, error) {
	return core.Tail{}, ErrAbsent
}

// ProvePayloads returns payload blocks first to first+n-1 with their proofs.
func (r *Room) ProvePayloads(id key.CoreID, first uint64, n int) ([]core.BlockProof, error) {
	return nil, ErrAbsent
}

// FillPayload stores payload blocks that were absent.
func (r *Room) FillPayload(id key.CoreID, proofs ...core.BlockProof) error { return ErrAbsent }

// Receive takes what a peer sent of one core.
func (r *Room) Receive(ctx context.Context, from key.DeviceID, ci CoreInfo, tails ...core.Tail) error {
	return ErrDrop
}
