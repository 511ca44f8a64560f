package main

import "syscall"

// newProcessGroup keeps the Ctrl-C of a console from a process: CREATE_NEW_PROCESS_GROUP.
const newProcessGroup = 0x200

// detached lets a node outlive the console and the command that started it.
func detached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: newProcessGroup, HideWindow: true}
}
