#!/bin/sh
# A reverse proxy and a server on this machine, so that the main job can be
# seen without a second host. Ends both on Ctrl-C.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
PATH=$top/.frp/0.70.1:$PATH
state=$(mktemp -d)
proxy="" server=""
finish() {
	trap - INT TERM EXIT
	[ -z "$server" ] || { kill -INT "$server" 2>/dev/null || true; wait "$server" || true; }
	[ -z "$proxy" ] || { kill -INT "$proxy" 2>/dev/null || true; wait "$proxy" || true; }
	rm -rf "$state"
}
trap 'finish; exit 0' INT TERM
trap finish EXIT

# In the background a shell ignores Ctrl-C for its children; they are told by finish.
"$top/bin/p2prc" -s --reverse-proxy --public-address 127.0.0.1 --listen 127.0.0.1:8088 \
	--state-dir "$state/proxy" &
proxy=$!
until join=$("$top/bin/p2prc" --join-string --state-dir "$state/proxy" 2>/dev/null); do
	kill -0 "$proxy" 2>/dev/null || { wait "$proxy"; exit $?; }
	sleep 0.1
done
"$top/bin/p2prc" -s --connect-reverse-proxy "$join" --state-dir "$state/server" &
server=$!
wait "$server"
