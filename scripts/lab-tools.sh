#!/bin/sh
# Installs what the network lab needs (scripts/lab), where that can be done
# without asking anybody: as root, with apt-get. Elsewhere the lab says itself
# what it misses.
set -eu
PATH=$PATH:/usr/sbin:/sbin
missing=
want() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
want curl curl
want ip iproute2
want iperf3 iperf3
want nft nftables
want ssh openssh-client
want sshd openssh-server
want unshare util-linux
[ -n "$missing" ] || exit 0
[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || exit 0
echo "installing for the network lab:$missing"
apt-get update -qq
# shellcheck disable=SC2086 # a list of packages
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
