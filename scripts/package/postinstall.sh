#!/bin/sh
# After the files are in place: dpkg calls it "configure", with the version
# before as second word; rpm calls it with how many there are now.
set -e
case $1 in
configure) before=${2:-} ;;
1) before="" ;;
[0-9]*) before=some ;;
*) exit 0 ;;
esac

if ! getent passwd p2prc >/dev/null; then
	if command -v systemd-sysusers >/dev/null; then
		systemd-sysusers p2prc.conf
	else
		useradd --system --user-group --home-dir /var/lib/p2prc --no-create-home --shell /usr/sbin/nologin p2prc
	fi
fi

# The service is neither enabled nor started: it has to be told first what it
# is to be. One that runs is restarted, which its tunnels outlive
# (RestartKillSignal in the unit).
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	[ -z "$before" ] || systemctl try-restart p2prc.service || true # dpkg is not to fail with it
fi
