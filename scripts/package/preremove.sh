#!/bin/sh
# Before the files go: dpkg calls it "remove", rpm with 0. On an upgrade the
# service keeps running.
set -e
case $1 in
remove | 0) ;;
*) exit 0 ;;
esac
command -v systemctl >/dev/null || exit 0
if [ -d /run/systemd/system ]; then
	systemctl stop p2prc.service
fi
systemctl disable p2prc.service >/dev/null 2>&1 || true # it may never have been enabled
