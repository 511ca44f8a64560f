package tree

import (
	"fmt"
	"testing"
)

// A scan goes on as it began, whatever is looked for meanwhile.
func TestScanAmongScans(t *testing.T) {
	var m Mem
	for i := range 8 {
		for j := range 3 {
			if err := m.Put(fmt.Appendf(nil, "%d%d", i, j), []byte{byte(i)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	o := newOverlay(&m)
	for range o.Scan([]byte("0"), nil) { // noted from now on
	}
	var got []string
	for k := range o.Scan([]byte("0"), nil) {
		got = append(got, string(k))
		for i := range 8 {
			o.short(fmt.Append(nil, i))
		}
	}
	if want := "[00 01 02]"; fmt.Sprint(got) != want {
		t.Errorf("%v, not %s", got, want)
	}
}
