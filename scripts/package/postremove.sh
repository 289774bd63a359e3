#!/bin/sh
# After the files are gone. dpkg's "purge" takes what p2prc kept as well, its
# keys and ports with it; rpm has no such thing. The user stays: its number must
# not be given to another while a copy of its files may exist.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
if [ "$1" = purge ]; then
	rm -rf /var/lib/p2prc
	rmdir /etc/p2prc 2>/dev/null || true # holds what others put there
fi
