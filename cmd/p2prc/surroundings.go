package main

// What p2prc meets besides its command line. The man page prints these tables,
// and tests compare them with the README and with what the code asks for.

var signalWords = []struct{ name, what string }{
	{"SIGINT, SIGTERM, SIGHUP", "Take the tunnels down in order: the rows go, then frp. A second one ends everything at once."},
	{"SIGUSR2", "End p2prc alone: the tunnels stay up, and the next start takes them over."},
}

const settingsText = "Every flag is also a variable ($P2PRC_FRP_PORT for --frp-port) and a key of the config file (frp-port = 7001)." +
	" A flag beats a variable, and that the file. Besides:"

var environment = []struct{ name, what string }{
	{"P2PRC", "The state directory, where --state-dir does not name it."},
	{"P2PRC_CONFIG", "The config file, where --config does not name it."},
	{"STATE_DIRECTORY, CONFIGURATION_DIRECTORY", "Set by systemd: the state directory, and that of the config file."},
	{"XDG_STATE_HOME, XDG_CONFIG_HOME, HOME", "Where both are of a user who is not root."},
	{"PATH", "Where frps and frpc are looked for."},
	{"NO_COLOR, TERM", "No colours if the one is set or the other is dumb."},
	{"NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID, JOURNAL_STREAM", "Set by systemd: p2prc tells it when it is ready, how it is and that it lives, and keeps the join string out of its journal."},
}

var files = []struct {
	names []string
	what  string
}{
	{[]string{"reverse_proxy_mapping.json", "reverse_proxy_server.json"}, "the tables; anyone may read them, at any time, without a lock"},
	{[]string{"ip_table.json"}, "the servers, as P2PRC's tools read them: behind NAT with the proxy's address and port"},
	{[]string{"own.journal"}, "what this node committed; the tables are made from it"},
	{[]string{"private/"}, "keys, tokens, frp's configuration and logs; for the user only"},
}
