package main

import (
	"slices"
	"strings"
	"testing"

	"p2prc/supervisor"
)

func TestParseMaps(t *testing.T) {
	for _, tt := range []struct {
		spec, want string
	}{
		{"3000", "tcp-3000 127.0.0.1:3000"},
		{"web=3000/udp", "web 127.0.0.1:3000/udp"},
		{"6000-6002", "tcp-6000 127.0.0.1:6000, tcp-6001 127.0.0.1:6001, tcp-6002 127.0.0.1:6002"},
		{"8000-8001:21000-21001", "tcp-8000 127.0.0.1:8000:21000, tcp-8001 127.0.0.1:8001:21001"},
		{"game=192.168.1.9:8000-8001/udp", "game-8000 192.168.1.9:8000/udp, game-8001 192.168.1.9:8001/udp"},
		{"localhost:7000-7000", "tcp-7000 127.0.0.1:7000"},
		{"65534-65535", "tcp-65534 127.0.0.1:65534, tcp-65535 127.0.0.1:65535"},
		{"my-host=80", "my-host 127.0.0.1:80"},
		{"8000-8002:21000-21001", "8000-8002 has 3 ports and 21000-21001 has 2"},
		{"6002-6000", "6002-6000"},
		{"6000-", ""},
		{"-6000", ""},
		{"0-5", "port 0 is outside 1-65535"},
		{"2001:db8::1-5", ""},
		{"../a=6000-6001", "is not a name"},
	} {
		t.Run(tt.spec, func(t *testing.T) {
			maps, err := parseMaps(tt.spec)
			if err != nil {
				if tt.want == "" || strings.Contains(err.Error(), tt.want) {
					return
				}
				t.Fatalf("refused with %v", err)
			}
			var got []string
			for _, m := range maps {
				got = append(got, m.Name+" "+m.String())
			}
			if strings.Join(got, ", ") != tt.want {
				t.Errorf("got %v", got)
			}
			if named := strings.Contains(tt.spec, "="); slices.ContainsFunc(maps, func(m supervisor.MapSpec) bool { return m.Named != named }) {
				t.Error("who named it is lost")
			}
		})
	}
}
