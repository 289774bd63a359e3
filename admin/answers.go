package admin

import (
	"encoding/json"
	"strconv"
	"strings"
)

// All that differs between frp's versions, and every shape of an answer, is in
// this file. v1 of the API is complete in each version, so v2 (0.70) is not
// asked.
//
//   - Content-Type is text/plain up to 0.65 and application/json in 0.70.1, for
//     the same bytes: it is not looked at.
//   - An error is plain text up to 0.65 and {"Code":404,"Msg":"..."} in 0.70.1.
//   - frpc's status names a proxy `user.name` up to 0.67 and `name` from 0.68
//     on: the same, as frpconf sets no user.

// statusAnswer is frpc's /api/status, by type. It is {} without a session.
type statusAnswer map[string][]struct {
	Name       string `json:"name"`
	Type       string `json:"type"`
	Status     string `json:"status"`
	Err        string `json:"err"`
	RemoteAddr string `json:"remote_addr"`
}

// infoAnswer is frps's /api/serverinfo.
type infoAnswer struct {
	Version  string `json:"version"`
	BindPort uint16 `json:"bindPort"`
	Clients  int    `json:"clientCounts"`
}

// proxiesAnswer is frps's /api/proxy/TYPE, proxyAnswer one element of it.
type proxiesAnswer struct {
	Proxies *[]proxyAnswer `json:"proxies"`
}

type proxyAnswer struct {
	Name string `json:"name"`
	Conf *struct {
		RemotePort    uint16   `json:"remotePort"`
		CustomDomains []string `json:"customDomains"`
		SubDomain     string   `json:"subdomain"`
	} `json:"conf"` // null when offline
	Status string `json:"status"`
	In     int64  `json:"todayTrafficIn"`
	Out    int64  `json:"todayTrafficOut"`
	Conns  int    `json:"curConns"`
}

// message is the text of an error answer.
func message(body []byte) string {
	var m struct {
		Msg string `json:"Msg"`
	}
	if json.Unmarshal(body, &m) == nil && m.Msg != "" {
		return clean(m.Msg, maxWords)
	}
	return clean(string(body), maxWords)
}

// remotePort is the port in frpc's remote_addr: "203.0.113.7:20000", of http and
// https "app.example.org:8080", where frps leaves 80 and 443 out, for either of
// them (0.61.0-0.70.1). An IPv6
// address stands there without brackets, so what counts is the last colon.
// While a proxy does not run there is no port, or nothing at all.
func remotePort(addr string) uint16 {
	port, err := strconv.ParseUint(addr[strings.LastIndexByte(addr, ':')+1:], 10, 16)
	if err != nil {
		return 0
	}
	return uint16(port)
}
