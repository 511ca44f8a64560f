package control

import (
	"fmt"
	"slices"
	"strings"
)

// maxSome is how many files an error names.
const maxSome = 5

// SomeOf names some of many files, in order.
func SomeOf(files []string) string {
	files = slices.Sorted(slices.Values(files))
	text := strings.Join(files[:min(len(files), maxSome)], ", ")
	if n := len(files) - maxSome; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}
