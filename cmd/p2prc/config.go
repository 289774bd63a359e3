package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/pelletier/go-toml/v2"
)

// configFile is the TOML file with flags in it; its keys are the flag names.
type configFile struct {
	path    string
	values  map[string]string // as the command line would spell them
	warning string            // about the file itself
}

// findConfig is the file that is read without --config. Outside root's and
// systemd's it is the user's own.
func findConfig(getenv func(string) string, root bool) string {
	const name = "p2prc.toml"
	if dirs := getenv("CONFIGURATION_DIRECTORY"); dirs != "" { // systemd.exec(5)
		dir, _, _ := strings.Cut(dirs, ":")
		return filepath.Join(dir, name)
	}
	if root {
		return filepath.Join("/etc/p2prc", name)
	}
	if dir := getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "p2prc", name)
	}
	if runtime.GOOS != "linux" {
		if dir, err := os.UserConfigDir(); err == nil {
			return filepath.Join(dir, "p2prc", name)
		}
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".config", "p2prc", name)
	}
	return ""
}

// readConfig reads the file at path. One that nobody asked for may be missing.
func readConfig(path string, asked bool, app *kong.Application) (configFile, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !asked {
		return configFile{}, nil
	}
	if err != nil {
		return configFile{}, usage("--config=FILE names another one", "reading the config file: %w", err)
	}
	values, err := parseConfig(data, app)
	if err != nil {
		return configFile{}, usage("keys are the flag names without dashes in front; see p2prc --help", "%s%w", path, err)
	}
	c := configFile{path: path, values: values}
	if holdsSecret(values) && othersCanRead(path) {
		c.warning = fmt.Sprintf("%s holds a token and others can read it: chmod 600 %[1]s", path)
	}
	return c, nil
}

// parseConfig turns TOML into what the command line would say. Its errors
// begin with the line, to be put behind the name of the file.
func parseConfig(data []byte, app *kong.Application) (map[string]string, error) {
	// The grammar is the schema: a struct with one field for each flag makes
	// go-toml report an unknown key with its line.
	var fields []reflect.StructField
	for _, flag := range allFlags(app.Node) {
		if isSetting(flag) {
			fields = append(fields, reflect.StructField{
				Name: fmt.Sprintf("F%d", len(fields)),
				Type: reflect.TypeFor[any](),
				Tag:  reflect.StructTag(fmt.Sprintf("toml:%q", flag.Name)),
			})
		}
	}
	file := reflect.New(reflect.StructOf(fields))
	err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(file.Interface())
	var (
		unknown *toml.StrictMissingError
		broken  *toml.DecodeError
	)
	switch {
	case errors.As(err, &unknown):
		first := unknown.Errors[0]
		line, _ := first.Position()
		return nil, fmt.Errorf(":%d: unknown key %q", line, strings.Join(first.Key(), "."))
	case errors.As(err, &broken):
		line, column := broken.Position()
		return nil, fmt.Errorf(":%d:%d: %s", line, column, strings.TrimPrefix(broken.Error(), "toml: "))
	case err != nil:
		return nil, fmt.Errorf(": %w", err)
	}
	values := map[string]string{}
	for i, field := range fields {
		name := field.Tag.Get("toml")
		value, ok := spell(file.Elem().Field(i).Interface())
		if !ok {
			return nil, fmt.Errorf(": %s: want a string, a number, true or false, or a list of strings", name)
		}
		if value != "" {
			values[name] = value
		}
	}
	return values, nil
}

// spell gives a TOML value as the command line would have it: kong splits
// lists at commas, which no flag has in its values.
func spell(value any) (string, bool) {
	switch v := value.(type) {
	case nil:
		return "", true
	case string, int64, bool:
		return fmt.Sprint(v), true
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			if _, nested := e.([]any); nested {
				return "", false
			}
			part, ok := spell(e)
			if !ok {
				return "", false
			}
			parts[i] = part
		}
		return strings.Join(parts, ","), true
	}
	return "", false
}

func allFlags(node *kong.Node) []*kong.Flag {
	flags := node.Flags
	for _, child := range node.Children {
		flags = append(flags[:len(flags):len(flags)], allFlags(child)...)
	}
	return flags
}

func holdsSecret(values map[string]string) bool {
	return values["token"] != "" || strings.Contains(values["connect-reverse-proxy"], "#")
}

// othersCanRead goes by the mode bits, which mean nothing on Windows.
func othersCanRead(path string) bool {
	info, err := os.Stat(path)
	return err == nil && runtime.GOOS != "windows" && info.Mode()&0o077 != 0
}
