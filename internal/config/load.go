package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
)

// Setting describes one setting for help texts and flags.
type Setting struct {
	Key   string // as in the file: peer_listen
	Usage string
	Kind  Kind
	// Default is the default value as text; empty for none.
	Default string
	// Reload says whether SIGHUP applies a change: "yes", "contents" (of the
	// files named) or "" (it takes a restart).
	Reload string
}

// Kind is the type of a setting's value.
type Kind int

// The kinds of settings.
const (
	Text Kind = iota
	List
	Number
	Duration
	Size
	Speed
	Bool // true or false
)

// Flag is the name of the setting's flag, without dashes.
func (s Setting) Flag() string { return strings.ReplaceAll(s.Key, "_", "-") }

// Env is the name of the setting's variable.
func (s Setting) Env() string { return "DISTD_" + strings.ToUpper(s.Key) }

// Settings returns every setting, in the order of the documentation.
func Settings() []Setting {
	def := reflect.ValueOf(Default())
	t := def.Type()
	out := make([]Setting, 0, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		s := Setting{Key: f.Tag.Get("koanf"), Usage: f.Tag.Get("usage"), Reload: f.Tag.Get("reload")}
		v := def.Field(i)
		switch x := v.Interface().(type) {
		case []string:
			s.Kind = List
		case int:
			s.Kind, s.Default = Number, fmt.Sprint(x)
		case bool:
			s.Kind, s.Default = Bool, fmt.Sprint(x)
		case time.Duration:
			s.Kind, s.Default = Duration, x.String()
		case Bytes:
			text, _ := x.MarshalText()
			s.Kind, s.Default = Size, string(text)
		case Reserve:
			text, _ := x.MarshalText()
			s.Default = string(text)
		case Timetable:
			text, _ := x.MarshalText()
			s.Kind, s.Default = Speed, string(text)
		default:
			s.Default = v.String()
		}
		out = append(out, s)
	}
	return out
}

// Sources are the places that settings come from.
type Sources struct {
	// Flags holds the flags that were given, by key: a string or, for a list,
	// a []string.
	Flags map[string]any
	// Env is the environment as of os.Environ.
	Env []string
	// File is the configuration file. When it is empty, DefaultFile is read if
	// it exists.
	File string
}

// Load reads the settings from their sources and checks them.
func Load(src Sources) (*Config, error) {
	k := koanf.New("\x00")
	file, err := readFile(src.File)
	if err != nil {
		return nil, err
	}
	env, err := readEnv(src.Env)
	if err != nil {
		return nil, err
	}
	for _, layer := range []map[string]any{file, env, src.Flags} {
		if err := k.Load(confmap.Provider(layer, ""), nil); err != nil {
			return nil, fmt.Errorf("configuration: %w", err)
		}
	}
	c := Default()
	if err := decode(k.Raw(), &c); err != nil {
		return nil, fmt.Errorf("configuration: %w", explain(k.Raw(), err))
	}
	c.fill()
	if err := c.check(); err != nil {
		return nil, err
	}
	return &c, nil
}

func decode(values map[string]any, c *Config) error {
	d, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		TagName:          "koanf",
		Result:           c,
		WeaklyTypedInput: true,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(
			mapstructure.StringToTimeDurationHookFunc(),
			mapstructure.StringToSliceHookFunc(","),
			numberAsText,
			mapstructure.TextUnmarshallerHookFunc()),
	})
	if err != nil {
		return err
	}
	return d.Decode(values)
}

// numberAsText lets a rate or reserve be a plain number in the file.
func numberAsText(from, to reflect.Type, data any) (any, error) {
	if (to == reflect.TypeFor[Timetable]() || to == reflect.TypeFor[Reserve]()) && from.Kind() != reflect.String {
		return fmt.Sprint(data), nil
	}
	return data, nil
}

// explain names the first setting that cannot be decoded, its value and what
// would do, in place of the library's own words.
func explain(values map[string]any, err error) error {
	for _, s := range Settings() {
		v, given := values[s.Key]
		if !given {
			continue
		}
		var scratch Config
		if decode(map[string]any{s.Key: v}, &scratch) != nil {
			if s.Kind == Speed {
				_, err := ParseTimetable(fmt.Sprint(v))
				return fmt.Errorf("%s %w", s.Key, err)
			}
			return fmt.Errorf("%s %q is not %s", s.Key, fmt.Sprint(v), kinds[s.Kind])
		}
	}
	return err
}

var kinds = map[Kind]string{
	Text:     "a text",
	List:     "a list of texts",
	Number:   "a whole number",
	Duration: "a duration such as 30s, 5m or 1h30m",
	Size:     "a size such as 64MiB",
	Bool:     "true or false",
}

func readFile(path string) (map[string]any, error) {
	explicit := path != ""
	if !explicit {
		path = DefaultFile
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !explicit {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	m, err := yaml.Parser().Unmarshal(b)
	if err != nil {
		return nil, fmt.Errorf("configuration file %s: %w", path, err)
	}
	for key := range m {
		if !known(key) {
			return nil, fmt.Errorf("configuration file %s: unknown key %q%s", path, key, Nearest(key, keys(Setting.key)))
		}
	}
	return m, nil
}

// readEnv takes the settings out of the environment. A hook is told of its
// release in variables of the same prefix; what it starts must not take them
// for settings.
func readEnv(environ []string) (map[string]any, error) {
	if slices.ContainsFunc(environ, func(e string) bool { return strings.HasPrefix(e, "DISTD_ATTEMPT=") }) {
		return nil, nil
	}
	m := map[string]any{}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		key, ok := strings.CutPrefix(name, "DISTD_")
		if !ok || name == "DISTD_CONFIG" {
			continue
		}
		key = strings.ToLower(key)
		if !known(key) {
			// Without the prefix, which would make all of them look alike.
			hint := Nearest(key, keys(func(s Setting) string { return strings.TrimPrefix(s.Env(), "DISTD_") }))
			return nil, fmt.Errorf("environment: unknown variable %s%s", name, strings.Replace(hint, `"`, `"DISTD_`, 1))
		}
		m[key] = value
	}
	return m, nil
}

func (s Setting) key() string { return s.Key }

func keys(name func(Setting) string) []string {
	var out []string
	for _, s := range Settings() {
		out = append(out, name(s))
	}
	return out
}

func known(key string) bool {
	return slices.ContainsFunc(Settings(), func(s Setting) bool { return s.Key == key })
}

// Nearest returns `; did you mean "X"?` for the candidate that is closest to
// the word, or nothing when none is close.
func Nearest(word string, candidates []string) string {
	best, dist := "", len(word)/2+1
	for _, c := range candidates {
		if d := editDistance(strings.ToLower(word), strings.ToLower(c)); d < dist {
			best, dist = c, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// editDistance is how many bytes are to be inserted, deleted, changed or
// exchanged with their neighbour to make b of a.
func editDistance(a, b string) int {
	before, last := []int(nil), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, row[j]+1, last[j+1]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// Changed returns the keys of the settings whose values differ.
func Changed(a, b *Config) []string {
	va, vb := reflect.ValueOf(*a), reflect.ValueOf(*b)
	var out []string
	for i := range va.NumField() {
		if !reflect.DeepEqual(va.Field(i).Interface(), vb.Field(i).Interface()) {
			out = append(out, va.Type().Field(i).Tag.Get("koanf"))
		}
	}
	return out
}

// Map returns every setting by its key, as text where the file has text, and
// without the user names and passwords in URLs.
func (c *Config) Map() map[string]any {
	v := reflect.ValueOf(*c)
	out := make(map[string]any, v.NumField())
	for i := range v.NumField() {
		key := v.Type().Field(i).Tag.Get("koanf")
		switch x := v.Field(i).Interface().(type) {
		case time.Duration:
			out[key] = x.String()
		case string:
			out[key] = shown(x)
		case []string:
			out[key] = slices.Collect(func(yield func(string) bool) {
				for _, s := range x {
					if !yield(shown(s)) {
						return
					}
				}
			})
		default:
			out[key] = x
		}
	}
	return out
}

// shown is a value without the password that a URL in it may have.
func shown(s string) string {
	if strings.Contains(s, "://") {
		return withoutUser(s)
	}
	return s
}
