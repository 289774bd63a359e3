#!/bin/sh
# Installs what the tests use beside Go, where that can be done without asking
# anybody: as root, with apt-get. Elsewhere the tests say themselves what they miss.
set -eu
PATH=$PATH:/usr/sbin:/sbin
missing=
want() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
# For the network lab.
want curl curl
want ip iproute2
want iperf3 iperf3
want nft nftables
want ssh openssh-client
want sshd openssh-server
want unshare util-linux
# For completions, the man page and the unit.
want fish fish
want groff groff
want systemd-analyze systemd
want zsh zsh
[ -n "$missing" ] || exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || exit 0
echo "installing for the tests:$missing"
apt-get update -qq
# shellcheck disable=SC2086 # a list of packages
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
