// Package fuse mounts a vfs.FS in the kernel. It only translates: nodes and handles to go-fuse's, and errors to errno
// (errno.go has the one table).
//
// # How bytes reach the kernel
//
// With CAP_SYS_ADMIN, where the kernel allows it, a file that is open for writing or larger than 64 KiB and wholly here
// is read and written by the kernel itself in its staging file or blob (passthrough). A blob is never handed out for
// writing: while the kernel reads one through an inode, opening that inode for writing is answered with ESTALE, and the
// kernel looks the name up again and finds the next generation, which has a staging file. Otherwise the page cache is
// used, with write-back. Which it is, is tried out at the start: see Mounted.Mode.
//
// So whoever has a file open for reading that the kernel reads in its blob goes on seeing the bytes it had then when a program on this machine
// opens it for writing later. Who opened a file while a program here wrote to it sees what the next one writes, too, until others have
// changed the file: then he keeps the bytes that he has, as everybody does. A file of more than 64 KiB that a program here has made
// longer is read through the page cache for an hour, where growing is seen: tail -f of a log that is opened anew for each line follows
// it, unless it began before the first line in that time (then tail -F does, or beginning again). With write-back it always does.
// Through the page cache what is mapped and written changes a file's time of modification once more when the kernel writes it out; and
// with write-back the kernel tells of that time beside the bytes, so that one that nobody set may be some milliseconds off once the
// kernel has forgotten the file. Bytes that the kernel may hold back are no hole.
//
// The bytes of a small file are put into the page cache while it is opened (give.go), if nobody else has it open.
//
// # How changes of others are seen
//
// The kernel is not notified of them. To drop a name or a page it takes locks that a program holds while it waits for this
// process; a process that is killed while it waits for such a lock cannot end, its descriptor of /dev/fuse stays open,
// and every program in the mount hangs for ever. Instead, names and attributes are remembered for one second, and a
// file whose bytes others changed is another inode from then on: what was open keeps the old bytes.
//
// # inotify
//
// Programs that watch a folder hear of others' changes because a child process (EchoMain) makes them again, through the
// mount: a file that came is made, one that went is removed, and so on. Its requests are known by its thread; they are
// answered as if the change had not happened yet, and then with success, and change nothing. It may wait for any lock,
// since it has no descriptor of /dev/fuse: when this process is killed, the kernel ends the mount, and so the wait.
// Only folders that the kernel knows are told of, and what goes only under names that it knows; new bytes are IN_MODIFY,
// attributes IN_ATTRIB. A rename whose halves are not looked at together is told as one name that went and another that
// came. Where the kernel remembers too much, a change is told up to two seconds late. There are at
// most echoRate events a second; of names beyond maxEchoes only the folder is told of. In a read-only mount there are none.
//
// # Permission bits
//
// The kernel holds other users and plain ones to permission bits. Where root mounts and lets nobody else in, it does not look at them,
// since it would ask for a directory's anew after each change in it: for root that matters only in that a process without
// CAP_DAC_OVERRIDE is not held to them, either.
//
// # Faults
//
// A request that panics ends the mount: whoever asks it for anything gets ENOTCONN, until it is mounted again. If the panic was in the drive,
// the process ends. broken.go says why.
//
// # What is not there
//
// Hard links and O_TMPFILE (EPERM, EOPNOTSUPP), RENAME_EXCHANGE of what stays on this machine for what does not (EOPNOTSUPP),
// extended attributes but user.* (EOPNOTSUPP, also when they are asked for, so that ls(1) asks once and not for each file)
// nor more of them for one file than 256 of 512 KiB together (E2BIG), owners: everything belongs to one user, and giving a file to anybody else is EPERM. Locks are the kernel's own: they hold within
// one machine.
package fuse
