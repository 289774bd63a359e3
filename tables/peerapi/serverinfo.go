package peerapi

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strconv"

	"p2prc/tables/identity"
)

// ServerInfo is what a node tells any stranger: GET /server_info. Fields are
// only ever added.
type ServerInfo struct {
	Name          string      `json:"name"`
	NodeID        identity.ID `json:"node_id"`
	Version       string      `json:"version"`
	OS            string      `json:"os"`
	Arch          string      `json:"arch"`
	UptimeSeconds int64       `json:"uptime_s"`
	Role          Role        `json:"role"`
	Reachable     Reachable   `json:"reachable,omitzero"` // absent while nobody outside gets through
}

// Role is what a node was started as.
type Role string

// The roles of `p2prc -s`.
const (
	RoleReverseProxy Role = "reverse proxy"
	RoleServer       Role = "server"
)

// Reachable is where a node's public port is.
type Reachable struct {
	Address netip.Addr  `json:"address"`
	Port    uint16      `json:"port"`
	How     How         `json:"how"`
	ProxyID identity.ID `json:"proxy_id,omitempty"` // whose address it is, with HowFRP
}

// How is the way from outside to a node.
type How string

// A node is reached at an address of its own, or through a reverse proxy's frps.
const (
	HowPublic How = "public"
	HowFRP    How = "frp"
)

// serverInfoHandler answers GET and HEAD /server_info, and leaves all else to
// other, if that is not nil.
func serverInfoHandler(info func() ServerInfo, other http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/server_info" && other != nil {
			other.ServeHTTP(w, r)
			return
		}
		if r.URL.Path != "/server_info" || info == nil {
			http.Error(w, "not found", http.StatusNotFound)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		b, err := json.Marshal(info())
		if err != nil {
			http.Error(w, "internal error", http.StatusInternalServerError)
			return
		}
		b = append(b, '\n')
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		w.Header().Set("Cache-Control", "no-store")
		// A client that went away is no news.
		_, _ = w.Write(b)
	})
}
