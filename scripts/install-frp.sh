#!/bin/sh
# Puts a usable pair of frps and frpc where p2prc finds it. Tried in this order:
# what is on PATH, the host's package manager, the Go toolchain. It changes
# nothing when a usable pair is there, and says "ready" only after both binaries
# have run and told their version.
set -eu

oldest=0.61.0 # p2prc accepts this frp and newer ones
newest=0.70.1 # and is tested most with this one

usage() {
	cat <<END
usage: install-frp.sh [--from path|package|go] [--version V] [--dir DIR] [--sudo]

  --from path      only look on PATH
  --from package   only the host's package manager
  --from go        only build from source with the Go toolchain
  --version V      build this version: 0.61.0, 0.65.0 or 0.70.1 (with Go only)
  --dir DIR        where a build goes; /usr/local/bin as root, else ~/.local/bin
  --sudo           let the package manager run through sudo
END
}

say() { printf '%s\n' "$*"; }
fail() {
	printf 'install-frp: %s\n' "$*" >&2
	exit 1
}
misused() {
	printf 'install-frp: %s\n' "$*" >&2
	usage >&2
	exit 2
}
has() { command -v "$1" >/dev/null 2>&1; }

# at_least A B: version A is B or newer. Anything but three numbers is older.
at_least() {
	awk -v have="$1" -v want="$2" 'BEGIN {
		if (have !~ /^[0-9]+\.[0-9]+\.[0-9]+$/) exit 1
		split(have, a, "."); split(want, b, ".")
		for (i = 1; i <= 3; i++) if (a[i] + 0 != b[i] + 0) exit a[i] + 0 < b[i] + 0
	}'
}

# told FILE: the version that a binary prints; fails when it does not run.
told() { "$1" -v 2>/dev/null; }

# on_path: is the pair on PATH usable? Says what it found.
on_path() {
	for name in frps frpc; do
		file=$(command -v "$name") || {
			say "$name: not on PATH"
			return 1
		}
		version=$(told "$file") || {
			say "$name: $file does not run"
			return 1
		}
		at_least "$version" "$oldest" || {
			say "$name: $file is version $version, p2prc needs $oldest or newer"
			return 1
		}
		say "$name: $file, version $version"
	done
}

# package_command: the command that installs frp here, and whether it needs
# root. Debian, Ubuntu and Fedora have no package of frp.
package_command() {
	if has brew; then
		say "user brew install frps frpc"
	elif [ -n "${TERMUX_VERSION:-}" ]; then
		say "user pkg install -y frp"
	elif has opkg; then
		say "root opkg install frps frpc"
	elif has apk && [ -e /etc/openwrt_release ]; then
		say "root apk add frps frpc"
	elif has apk; then
		say "root apk add frp"
	elif has pacman; then
		say "root pacman -S --needed --noconfirm frps frpc"
	elif has xbps-install; then
		say "root xbps-install -y frp"
	elif has pkg && [ "$(uname -s)" = FreeBSD ]; then
		say "root pkg install -y frp"
	elif has nix; then
		say "user nix --extra-experimental-features nix-command --extra-experimental-features flakes profile install nixpkgs#frp"
	else
		return 1
	fi
}

from_package() {
	command=$(package_command) || {
		say "package manager: none here that is known to have frp"
		return 1
	}
	who=${command%% *}
	command=${command#* }
	if [ "$who" = root ] && [ "$(id -u)" -ne 0 ]; then
		if [ -z "$sudo" ]; then
			say "package manager: needs root; --sudo would run: sudo $command"
			return 1
		fi
		command="sudo $command"
	fi
	say "running: $command"
	# The words are ours, from the list above.
	# shellcheck disable=SC2086
	$command || {
		say "package manager: it did not install frp"
		return 1
	}
	hash -r
	on_path
}

# hash_of VERSION: what the module's zip must hash to, as go.sum spells it. Go
# checks its checksum database as well, unless the user has turned that off.
hash_of() {
	case $1 in
	0.61.0) say "h1:+OuBLMtfsd3bHTd+uiYUKaz2h5Xv8JJnKfHD2FLwjOU=" ;;
	0.65.0) say "h1:Wn8qjXXf+G7+czZB0o7Y4U7Ohy9q/LOAqzK5AVKEel4=" ;;
	0.70.1) say "h1:PRZ7YEXfjVVd0br7ERCuHZEA8fww1nAtAno7uwyAQi0=" ;;
	*) return 1 ;;
	esac
}

# Functions are called to the left of ||, where the shell ignores set -e: each
# step that can fail says so itself.

# field NAME: the value of a key in the JSON of `go mod download`, one per line.
field() { sed -n "s/^[[:space:]]*\"$1\": \"\(.*\)\",\{0,1\}\$/\1/p"; }

from_go() {
	has go || {
		say "go: not on PATH"
		return 1
	}
	# A setting of the user's may not change what is built: no workspace, no
	# vendoring, no other platform, and nothing that needs a C library.
	GOWORK=off GOFLAGS=-mod=readonly GOOS='' GOARCH='' CGO_ENABLED=0
	export GOWORK GOFLAGS GOOS GOARCH CGO_ENABLED

	say "fetching the source of frp $version"
	json=$(cd / && go mod download -json "github.com/fatedier/frp@v$version") ||
		fail "fetching frp $version: $(say "$json" | field Error)"
	sum=$(say "$json" | field Sum)
	source=$(say "$json" | field Dir)
	[ "$sum" = "$(hash_of "$version")" ] ||
		fail "the source of frp $version hashes to $sum, expected $(hash_of "$version"): nothing was built"

	# From 0.68.0 on the web pages are not part of the module; p2prc uses only
	# the API, which is complete without them.
	tags=
	if at_least "$version" 0.68.0; then tags=noweb; fi

	mkdir -p "$dir" || fail "cannot make $dir"
	work=$(mktemp -d "$dir/.install-frp.XXXXXX") || fail "cannot write in $dir"
	trap 'rm -rf "$work"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	say "building frps and frpc $version (a minute or two)"
	go build -C "$source" -tags "$tags" -trimpath -ldflags '-s -w' -o "$work/" ./cmd/frps ./cmd/frpc ||
		fail "building frp $version did not work"

	exe=$(go env GOEXE)
	for name in frps frpc; do
		got=$(told "$work/$name$exe") || fail "the $name that was built does not run"
		[ "$got" = "$version" ] || fail "the $name that was built says it is $got, expected $version"
	done
	# Renamed, not copied: a running frp keeps its file.
	for name in frps frpc; do
		mv -f "$work/$name$exe" "$dir/$name$exe" || fail "cannot put $name into $dir"
		say "$name: $dir/$name$exe, version $version"
	done
	case ":$PATH:" in
	*":$dir:"*) ;;
	*) say "$dir is not on PATH: add it, or pass --frps=$dir/frps$exe or --frpc=$dir/frpc$exe to p2prc" ;;
	esac
}

from=
version=
dir=
sudo=
while [ $# -gt 0 ]; do
	case $1 in
	--from | --version | --dir)
		[ $# -ge 2 ] || misused "$1 needs a value"
		case $1 in
		--from) from=$2 ;;
		--version) version=${2#v} ;;
		--dir) dir=$2 ;;
		esac
		shift
		;;
	--sudo) sudo=yes ;;
	-h | --help)
		usage
		exit 0
		;;
	*) misused "unknown argument $1" ;;
	esac
	shift
done
case $from in
'' | go | package | path) ;;
*) misused "--from is path, package or go, not $from" ;;
esac
# A version or a place can only be had from a build.
if [ -n "$version$dir" ] && [ -z "$from" ]; then from=go; fi
if [ -n "$version$dir" ] && [ "$from" != go ]; then
	misused "--version and --dir need --from go"
fi
version=${version:-$newest}
hash_of "$version" >/dev/null || misused "version $version is not one that p2prc is tested with"
if [ -z "$dir" ]; then
	if [ "$(id -u)" -eq 0 ]; then dir=/usr/local/bin; else dir=${HOME:?}/.local/bin; fi
fi
# The build runs elsewhere.
case $dir in
/*) ;;
*) dir=$(pwd)/$dir ;;
esac

case $from in
path) on_path || exit 1 ;;
package) from_package || exit 1 ;;
go) from_go || exit 1 ;;
*)
	on_path || from_package || from_go ||
		fail "no way to install frp here: install Go from https://go.dev/dl and run this again, or take frps and frpc $oldest or newer from https://github.com/fatedier/frp/releases"
	;;
esac
say "frp is ready"
