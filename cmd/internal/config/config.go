package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// Config is the content of config.toml with the defaults and the environment.
type Config struct {
	Name      string     `toml:"name"`
	Network   string     `toml:"network"`
	Listen    []string   `toml:"listen"`
	Bootstrap []string   `toml:"bootstrap"`
	Metrics   string     `toml:"metrics"`
	Log       slog.Level `toml:"log"`
	Limits    Limits     `toml:"limits"`
	Keep      Keep       `toml:"keep"`
}

// Limits bound what goes to all peers together, and what comes from them; 0: no limit.
type Limits struct {
	Up   Rate `toml:"up"`
	Down Rate `toml:"down"`
}

// Keep says what is fetched without being asked for.
type Keep struct {
	MaxFile Size `toml:"max_file"`
	MinFree Size `toml:"min_free"`
}

// networks are the values of Config.Network.
var networks = []string{"public", "private", "lan", "direct"}

// Default is what holds without config.toml.
func Default() Config {
	return Config{Name: DefaultName(), Network: "public", Log: slog.LevelInfo, Keep: Keep{MaxFile: 64 << 20, MinFree: 1 << 30}}
}

// Load reads config.toml in the data directory at path, if there is one, and the environment.
func Load(path string) (Config, error) {
	c := Default()
	file := filepath.Join(path, "config.toml")
	meta, err := toml.DecodeFile(file, &c)
	var parse toml.ParseError
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case errors.As(err, &parse):
		return c, fmt.Errorf("%w: %s, line %d: %s", ErrBad, file, parse.Position.Line, parse.Message)
	case err != nil:
		return c, fmt.Errorf("%w: %s: %w", ErrBad, file, err)
	}
	if extra := meta.Undecoded(); len(extra) > 0 {
		return c, fmt.Errorf("%w: %s: there is no setting %q", ErrBad, file, extra[0].String())
	}
	c.environment()
	return c, c.check()
}

// environment lets the environment stand above the file.
func (c *Config) environment() {
	if v := os.Getenv("PEARBOX_NETWORK"); v != "" {
		c.Network = v
	}
	if v := list(os.Getenv("PEARBOX_BOOTSTRAP")); len(v) > 0 {
		c.Bootstrap = v
	}
	if v := list(os.Getenv("PEARBOX_LISTEN")); len(v) > 0 {
		c.Listen = v
	}
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' })
}

func (c *Config) check() error {
	if !slices.Contains(networks, c.Network) {
		return fmt.Errorf("%w: %q: one of %s is needed", ErrNetwork, c.Network, strings.Join(networks, ", "))
	}
	if c.Name != cleanName(c.Name) {
		return fmt.Errorf("%w: the device name %q: 1 to %d printable bytes are needed", ErrBad, c.Name, maxName)
	}
	return nil
}

// Size is a number of bytes. Its text is a number with or without a unit: "1500", "64MiB", "2.5 GB".
type Size int64

var units = []struct {
	name string
	size float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {"T", 1 << 40}, {"B", 1},
}

// ParseSize reads the text of a Size.
func ParseSize(text string) (Size, error) {
	number, factor := strings.TrimSpace(text), 1.0
	for _, u := range units {
		if n, ok := strings.CutSuffix(number, u.name); ok {
			number, factor = strings.TrimSpace(n), u.size
			break
		}
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || f < 0 || math.IsNaN(f) || f*factor >= 1<<62 {
		return 0, fmt.Errorf("%q is no size: a number and a unit like MiB or GB are needed", text)
	}
	return Size(math.Round(f * factor)), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(b []byte) (err error) {
	*s, err = ParseSize(string(b))
	return err
}

// Rate is a number of bytes a second. Its text is that of a Size, with or without "/s" behind it: "5MB", "2 MiB/s".
type Rate int64

// ParseRate reads the text of a Rate.
func ParseRate(text string) (Rate, error) {
	size, err := ParseSize(strings.TrimSuffix(strings.TrimSpace(text), "/s"))
	if err != nil {
		return 0, fmt.Errorf("%q is no rate: a number and a unit like MiB/s or MB are needed, 0 for no limit", text)
	}
	return Rate(size), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Rate) UnmarshalText(b []byte) (err error) {
	*r, err = ParseRate(string(b))
	return err
}

// String is the size that goes in a second.
func (r Rate) String() string { return Size(r).String() + "/s" }

// String is the size in the largest binary unit that fits without a rest.
func (s Size) String() string {
	for _, u := range []string{"TiB", "GiB", "MiB", "KiB"} {
		i := slices.IndexFunc(units, func(x struct {
			name string
			size float64
		}) bool {
			return x.name == u
		})
		if n := int64(units[i].size); s != 0 && int64(s)%n == 0 {
			return strconv.FormatInt(int64(s)/n, 10) + u
		}
	}
	return strconv.FormatInt(int64(s), 10)
}
