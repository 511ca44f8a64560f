package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/pearbox/pearbox/drive/key"
)

// DataEnv names the data directory.
const DataEnv = "PEARBOX_DATA"

// maxName is how long a device name may be, in bytes. Rooms take 64 characters.
const maxName = 64

// DefaultDir is where the data directory is when nobody says otherwise.
func DefaultDir() (string, error) {
	if dir := os.Getenv(DataEnv); dir != "" {
		return filepath.Abs(dir)
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "pearbox"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("%w: no home directory is set: give one with --data or %s", ErrBad, DataEnv)
	}
	switch runtime.GOOS {
	case "windows":
		if dir := os.Getenv("LOCALAPPDATA"); dir != "" {
			return filepath.Join(dir, "pearbox"), nil
		}
		return filepath.Join(home, "AppData", "Local", "pearbox"), nil
	case "darwin":
		return filepath.Join(home, "Library", "Application Support", "pearbox"), nil
	}
	return filepath.Join(home, ".local", "share", "pearbox"), nil
}

// Dir is a data directory that this process holds.
type Dir struct {
	path string
	lock *os.File
	mu   sync.Mutex // serialises the writes of rooms.json and peers.json
}

// Open makes the data directory at path if it is missing and takes its lock. ErrLocked (a *LockedError) when another node has it.
func Open(path string) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBad, err)
	}
	if err := os.MkdirAll(filepath.Join(path, "rooms"), 0o700); err != nil {
		return nil, fmt.Errorf("%w: making it: %w", ErrBad, err)
	}
	f, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: its lock: %w", ErrBad, err)
	}
	busy, err := tryLock(f)
	switch {
	case err != nil:
		_ = f.Close()
		return nil, fmt.Errorf("%w: locking it: %w", ErrBad, err)
	case busy:
		defer f.Close()
		return nil, &LockedError{Dir: path, PID: readPID(f)}
	}
	if err := f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%w: writing its lock: %w", ErrBad, err)
	}
	return &Dir{path: path, lock: f}, nil
}

// Running reports whether a node holds the data directory at path. It writes nothing there.
func Running(path string) (bool, error) {
	f, err := os.Open(filepath.Join(path, "lock"))
	if err != nil {
		return false, fmt.Errorf("%w: its lock: %w", ErrBad, err)
	}
	defer f.Close()
	busy, err := tryLock(f)
	if err != nil {
		return false, fmt.Errorf("%w: locking it: %w", ErrBad, err)
	}
	return busy, nil
}

func readPID(f *os.File) int {
	b, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

// Close gives the directory free.
func (d *Dir) Close() error {
	_ = d.lock.Truncate(0)
	return d.lock.Close()
}

// Path is the directory, absolute.
func (d *Dir) Path() string { return d.path }

// Socket is where the node answers.
func (d *Dir) Socket() string { return Socket(d.path) }

// Socket is where the node on the data directory at path answers.
func Socket(path string) string { return filepath.Join(path, "control.sock") }

// RoomDir is where a room is stored.
func (d *Dir) RoomDir(id key.RoomID) string { return filepath.Join(d.path, "rooms", id.String()) }

// Device reads the device's identity, or makes it when there is none; made tells. passphrase is asked when the file is sealed; it may be nil.
func (d *Dir) Device(passphrase func() ([]byte, error)) (dev *key.Device, made bool, err error) {
	path := filepath.Join(d.path, "device.key")
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		dev, err := d.newDevice(path)
		return dev, true, err
	}
	if err != nil {
		return nil, false, fmt.Errorf("%w: reading the device key: %w", ErrBad, err)
	}
	dev, err = key.ParseDevice(b)
	if errors.Is(err, key.ErrSealed) {
		if passphrase == nil {
			return nil, false, fmt.Errorf("%w: %s", ErrSealed, path)
		}
		var secret []byte
		if secret, err = passphrase(); err != nil {
			return nil, false, fmt.Errorf("%w: %w", ErrSealed, err)
		}
		if dev, err = key.OpenDevice(b, secret); errors.Is(err, key.ErrPassphrase) {
			return nil, false, fmt.Errorf("%w: %w", ErrSealed, err)
		}
	}
	switch {
	case errors.Is(err, key.ErrVersion):
		return nil, false, fmt.Errorf("%w: %s", ErrNewer, path)
	case err != nil:
		return nil, false, fmt.Errorf("%w: %s: %w", ErrBad, path, err)
	}
	return dev, false, nil
}

// newDevice makes the identity of a fresh data directory. One that holds rooms already has lost its key: making another would put a
// stranger in its place.
func (d *Dir) newDevice(path string) (*key.Device, error) {
	if left, _ := os.ReadDir(filepath.Join(d.path, "rooms")); len(left) > 0 {
		return nil, fmt.Errorf("%w: %s is missing, and there are rooms here that belong to it: put it back from a backup", ErrBad, path)
	}
	dev, err := key.NewDevice()
	if err != nil {
		return nil, fmt.Errorf("making the device key: %w", err)
	}
	if err := WriteFile(path, dev.Marshal(), 0o600); err != nil {
		return nil, err
	}
	return dev, nil
}

// DefaultName is how a device introduces itself when nobody says otherwise: user@host.
func DefaultName() string {
	host, _ := os.Hostname()
	host, _, _ = strings.Cut(host, ".")
	name := ""
	if u, err := user.Current(); err == nil {
		name = u.Username
		if i := strings.LastIndexByte(name, '\\'); i >= 0 {
			name = name[i+1:]
		}
	}
	switch {
	case name == "" && host == "":
		return "device"
	case name == "" || host == "":
		return cleanName(name + host)
	}
	return cleanName(name + "@" + host)
}

// cleanName drops what rooms do not take in a name.
func cleanName(s string) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s))
	for len(s) > maxName {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	if s == "" {
		return "device"
	}
	return s
}
