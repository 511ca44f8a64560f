// Package tree merges the operations of many writers into one file tree.
package tree
