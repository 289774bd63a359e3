#!/bin/sh
# Installs the .deb of `make packages` on this Debian and lives with it: start,
# restart, upgrade, a hang, stop, purge, under a real systemd. All of it happens
# in namespaces, on a copy of the root file system that is thrown away. Wants
# root, overlayfs, cgroup2, systemd, curl and python3.
#
#   try.sh DIST FRP    the directories of the .deb, and of frps and frpc
set -eu

fail() {
	echo "try.sh: $*" >&2
	exit 1
}

# outer makes the namespaces and waits for what happens in them.
outer() {
	[ "$(id -u)" = 0 ] || fail "root is needed, for overlayfs and for systemd"
	[ -x /lib/systemd/systemd ] || fail "there is no systemd"
	cgroup=$(sed -n 's/^[^ ]* \([^ ]*\) cgroup2 .*/\1/p' /proc/mounts | head -n 1)
	[ -n "$cgroup" ] || fail "there is no cgroup2"
	try=$(mktemp -d)
	cp "$1"/*.deb "$2"/frps "$2"/frpc "$try"/
	cp "$0" "$try/try.sh"
	: >"$try/console"
	group=$cgroup/p2prc-try-$$
	mkdir "$group"
	# The shell is for joining the group, which the namespace then begins at.
	sh -c 'echo $$ >"$1/cgroup.procs"; exec unshare --pid --fork --kill-child --mount --net --uts --ipc --cgroup \
		--propagation private sh "$2/try.sh" copy "$2"' sh "$group" "$try" >"$try/boot" 2>&1 &
	lab=$!
	trap 'end; rm -rf "$try"; exit 130' INT TERM
	left=180
	until [ -e "$try/done" ] || ! kill -0 "$lab" 2>/dev/null || [ "$left" = 0 ]; do
		sleep 1
		left=$((left - 1))
	done
	end
	cat "$try/out" 2>/dev/null || true
	code=0
	if [ -e "$try/failed" ] || [ ! -e "$try/done" ]; then
		echo "try.sh: it did not work" >&2
		tail -n 30 "$try/boot" "$try/console" >&2
		code=1
	fi
	rm -rf "$try"
	exit $code
}

# end takes everything down that runs in the group of this try.
end() {
	kill -9 "$lab" 2>/dev/null || true
	for _ in 1 2 3 4 5; do
		find "$group" -name cgroup.procs -exec cat {} + 2>/dev/null | xargs -r kill -9 2>/dev/null || true
		find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
		[ -d "$group" ] || break
		sleep 0.2
	done
}

# copy makes the root file system of the try, and systemd its first process.
copy() {
	mount -t tmpfs none /mnt
	mkdir /mnt/upper /mnt/work /mnt/root
	mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
	cd /mnt/root
	mount -t tmpfs -o mode=755 none dev
	for d in null zero full random urandom tty; do
		: >dev/$d
		mount --bind /dev/$d dev/$d
	done
	: >dev/console
	mount --bind "$1/console" dev/console
	ln -s pts/ptmx dev/ptmx
	mount -t proc proc proc
	mount -t tmpfs none run
	mount -t tmpfs none tmp
	mkdir -p try old
	mount --bind "$1" try
	mount --make-rprivate /
	pivot_root . old
	umount -l /old
	mount -t sysfs sysfs /sys
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
	ip link set lo up
	# Nothing of this machine's own runs, and nothing of its own p2prc is there.
	rm -rf /etc/systemd/system/* /var/lib/p2prc /etc/p2prc
	cp /try/frps /try/frpc /usr/local/bin/
	mkdir -p /run/systemd/system /etc/systemd/system/p2prc.service.d
	printf '[Unit]\nDefaultDependencies=no\n' >/etc/systemd/system/p2prc.service.d/try.conf
	cat >/run/systemd/system/try.service <<-END
		[Unit]
		DefaultDependencies=no
		[Service]
		ExecStart=/bin/sh /try/try.sh inside
		ExecStopPost=/bin/touch /try/done
		StandardOutput=file:/try/out
		StandardError=file:/try/out
	END
	container=lxc exec /lib/systemd/systemd --system --unit=try.service --log-target=console
}

# check WORDS COMMAND...: the command has to succeed.
check() {
	words=$1
	shift
	if "$@"; then
		echo "ok      $words"
	else
		echo "FAILED  $words"
		: >/try/failed
	fi
}
same() { [ "$1" = "$2" ] || { echo "        got $1, want $2" && false; }; }
differ() { [ "$1" != "$2" ]; }
pids() { echo "$(pgrep -u p2prc -x frps) $(pgrep -u p2prc -x frpc)"; }
main() { systemctl show "$1" -p MainPID --value; }
# within SECONDS COMMAND...
within() {
	left=$(($1 * 10))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$left" -gt 0 ] || return 1
		left=$((left - 1))
		sleep 0.1
	done
}
up() { systemctl status p2prc-server --no-pager | grep -q 'Status: "2 of 2 mappings up'; }
another() { [ "$(main p2prc)" != 0 ] && [ "$(main p2prc)" != "$1" ]; }

# users ask for a page all the time, one connection each.
users() {
	good=0 bad=0
	while [ ! -e /tmp/enough ]; do
		if [ "$(curl -s -m 10 "http://$1/")" = hello ]; then good=$((good + 1)); else bad=$((bad + 1)); fi
	done
	echo "$good $bad" >/tmp/users
}

# inside is the life of the package, as a unit of the systemd in there.
inside() {
	check "dpkg -i" dpkg -i /try/*.deb
	check "it is not enabled" same "$(systemctl is-enabled p2prc)" disabled
	check "it does not run" same "$(main p2prc)" 0
	check "p2prc --version" p2prc --version
	check "man p2prc" sh -c 'man p2prc | grep -q "proves every mapping"'
	check "the unit is valid" systemd-analyze verify p2prc.service

	printf 'reverse-proxy = true\nname = "edge"\npublic-address = "127.0.0.1"\nlisten = "127.0.0.1:8088"\n' >/etc/p2prc/p2prc.toml
	check "start" systemctl start p2prc
	join=$(p2prc --join-string)
	# The second role on one host takes a copy of the unit, as it says.
	mkdir /etc/p2prc-server
	printf 'connect-reverse-proxy = "127.0.0.1"\nname = "pi"\nmap = ["web=8000"]\n' >/etc/p2prc-server/p2prc.toml
	echo "P2PRC_CONNECT_REVERSE_PROXY=$join" >/etc/p2prc-server/p2prc.env
	sed 's/Directory=p2prc$/&-server/; s|/etc/p2prc/|/etc/p2prc-server/|; s/^\[Unit\]/&\nDefaultDependencies=no/' \
		/lib/systemd/system/p2prc.service >/etc/systemd/system/p2prc-server.service
	systemctl daemon-reload
	mkdir /tmp/www
	echo hello >/tmp/www/index.html
	(cd /tmp/www && exec python3 -m http.server -b 127.0.0.1 8000) >/dev/null 2>&1 &
	check "start of a server" systemctl start p2prc-server
	check "its status line" within 30 up
	address=$(p2prc --view-rpm --no-headers --name web --state-dir /var/lib/p2prc-server | cut -d' ' -f1)
	before=$(pids)
	users "$address" &

	for unit in p2prc p2prc-server p2prc p2prc-server; do
		pid=$(main $unit)
		check "restart of $unit" systemctl restart $unit
		check "it is another process" differ "$(main $unit)" "$pid"
	done
	check "restart of both" systemctl restart p2prc p2prc-server
	check "frps and frpc are the same" same "$(pids)" "$before"
	pid=$(main p2prc)
	check "upgrade" dpkg -i /try/*.deb
	check "p2prc is another process" differ "$(main p2prc)" "$pid"
	check "frps and frpc are the same" same "$(pids)" "$before"
	pid=$(main p2prc)
	kill -STOP "$pid"
	check "the watchdog starts a hanging p2prc again" within 60 another "$pid"
	check "it is ready" within 30 systemctl is-active --quiet p2prc
	check "frps and frpc are the same" same "$(pids)" "$before"
	check "the mappings are up" within 30 up
	: >/tmp/enough
	within 20 [ -e /tmp/users ]
	read -r good bad </tmp/users
	check "$good connections of users, $bad failed" same "$bad" 0
	check "the configuration was kept" grep -q edge /etc/p2prc/p2prc.toml

	check "stop of the server" systemctl stop p2prc-server
	check "stop of the reverse proxy" systemctl stop p2prc
	check "nothing is left running" same "$(pids)" " "
	systemctl start p2prc
	check "dpkg -r" dpkg -r p2prc
	check "nothing is left running" same "$(pids)" " "
	check "the state is kept" [ -d /var/lib/p2prc/private ]
	check "dpkg -P" dpkg -P p2prc
	check "the state is gone" [ ! -e /var/lib/p2prc ]
	check "the configuration is gone" [ ! -e /etc/p2prc ]
}

case ${1:-} in
copy) copy "$2" ;;
inside) inside ;;
*)
	[ $# = 2 ] || fail "usage: try.sh DIST FRP"
	outer "$1" "$2"
	;;
esac
