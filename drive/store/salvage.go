package store

// Salvage is what opening a damaged log.db brought back and what it did not.
type Salvage struct {
	Reason string     // what was found wrong
	Aside  string     // where the damaged file is kept
	Blocks uint64     // brought back
	Rows   uint64     // of log tables, brought back
	Lost   []CoreLoss // cores that lost something
}

func (s *Room) salvageIfDamaged(path string) error { return nil }
