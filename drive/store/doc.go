// Package store keeps one room on disk: its log, what is derived from it, and
// the bytes of its files.
package store
