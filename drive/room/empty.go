package room

import "slices"

// emptyAtOnce bounds the keys that Empty holds in memory.
const emptyAtOnce = 4096

// Empty deletes every row of a table.
func Empty(rows Rows) error {
	for {
		var keys [][]byte
		for k := range rows.Scan(nil, nil) {
			if keys = append(keys, slices.Clone(k)); len(keys) == emptyAtOnce {
				break
			}
		}
		if len(keys) == 0 {
			return nil
		}
		for _, k := range keys {
			if err := rows.Delete(k); err != nil {
				return err
			}
		}
	}
}
