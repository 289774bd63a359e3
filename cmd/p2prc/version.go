package main

import "runtime/debug"

// version is set by the linker: -X main.version=1.2.3.
var version string

// ownVersion falls back on what go build knows about the module.
func ownVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}
