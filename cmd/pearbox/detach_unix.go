//go:build !windows

package main

import "syscall"

// detached lets a node outlive the terminal and the command that started it.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
