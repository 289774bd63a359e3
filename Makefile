# Everything a fresh machine needs beyond Go, git and make is set up by the
# targets themselves: frp comes through the Go module proxy, its hashes pinned
# in scripts/install-frp.sh.

FRP_VERSION  := 0.70.1
FRP_VERSIONS := 0.61.0 0.65.0 $(FRP_VERSION)
TOOLS        := $(CURDIR)/.tools
GOFUMPT      := mvdan.cc/gofumpt@v0.9.2
STATICCHECK  := honnef.co/go/tools/cmd/staticcheck@v0.7.0
NFPM         := github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
PLATFORMS    := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

# Where make install puts things. DESTDIR goes before all of them.
PREFIX     ?= /usr/local
SYSCONFDIR ?= /etc
ZSHDIR     ?= $(PREFIX)/share/zsh/site-functions
BIN        ?= bin/p2prc

# The newest tag, else the commit: a number that only grows, in the alphabet of
# dpkg and rpm.
VERSION    ?= $(or $(patsubst v%,%,$(shell git describe --tags --exact-match 2>/dev/null)),$(shell TZ=UTC git show -s --date=format-local:%Y%m%d.%H%M%S --format=0.0~%cd.g%h HEAD 2>/dev/null),0.0)
MAINTAINER ?= $(shell git config user.name) <$(shell git config user.email)>
ARCH       ?= $(shell go env GOARCH)
GO_BUILD    = go build -trimpath -ldflags '$(STRIP) -X main.version=$(VERSION)'

.PHONY: build run install packages try-packages test check cross unit simulation lab test-tools compat bench frp frp-all clean

## build: write bin/p2prc
build:
	$(GO_BUILD) -o bin/ ./cmd/p2prc

## run: a reverse proxy and a server on this machine, until Ctrl-C
run: build frp
	@sh scripts/run.sh

## install: program, man page, completions, unit; DESTDIR and PREFIX say where
install: bin/p2prc
	install -d $(addprefix $(DESTDIR),$(PREFIX)/bin $(PREFIX)/share/man/man1 $(PREFIX)/share/bash-completion/completions \
		$(ZSHDIR) $(PREFIX)/share/fish/vendor_completions.d $(PREFIX)/lib/systemd/system $(PREFIX)/lib/sysusers.d \
		$(PREFIX)/share/p2prc $(PREFIX)/share/doc/p2prc $(SYSCONFDIR)/p2prc)
	install -m 755 $(BIN) $(DESTDIR)$(PREFIX)/bin/p2prc
	umask 022; bin/p2prc --man | gzip -9n >$(DESTDIR)$(PREFIX)/share/man/man1/p2prc.1.gz
	umask 022; bin/p2prc --completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/p2prc
	umask 022; bin/p2prc --completion zsh >$(DESTDIR)$(ZSHDIR)/_p2prc
	umask 022; bin/p2prc --completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/p2prc.fish
	umask 022; sed 's|/usr/bin/p2prc|$(PREFIX)/bin/p2prc|' scripts/systemd/p2prc.service >$(DESTDIR)$(PREFIX)/lib/systemd/system/p2prc.service
	install -m 644 scripts/systemd/sysusers.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/p2prc.conf
	install -m 755 scripts/install-frp.sh $(DESTDIR)$(PREFIX)/share/p2prc/install-frp.sh
	install -m 644 README.md $(DESTDIR)$(PREFIX)/share/doc/p2prc/README.md
	install -m 644 LICENSE $(DESTDIR)$(PREFIX)/share/doc/p2prc/copyright
	[ -e $(DESTDIR)$(SYSCONFDIR)/p2prc/p2prc.toml ] || install -m 644 scripts/systemd/p2prc.toml $(DESTDIR)$(SYSCONFDIR)/p2prc/
	[ -e $(DESTDIR)$(SYSCONFDIR)/p2prc/p2prc.env ] || install -m 600 scripts/systemd/p2prc.env $(DESTDIR)$(SYSCONFDIR)/p2prc/

# Root, who installs, may have no Go: what was built before is taken.
bin/p2prc:
	$(MAKE) build

packages: STRIP = -s -w

## packages: dist/*.deb and dist/*.rpm, for Linux on ARCH
packages: build $(TOOLS)/nfpm
	rm -rf dist
	CGO_ENABLED=0 GOOS=linux GOARCH=$(ARCH) $(GO_BUILD) -o dist/p2prc ./cmd/p2prc
	$(MAKE) install BIN=dist/p2prc PREFIX=/usr DESTDIR=$(CURDIR)/dist/deb ZSHDIR=/usr/share/zsh/vendor-completions
	$(MAKE) install BIN=dist/p2prc PREFIX=/usr DESTDIR=$(CURDIR)/dist/rpm
	for p in deb rpm; do ROOT=dist/$$p ZSHDIR=$$(cd dist/$$p && echo usr/share/zsh/*) ARCH=$(ARCH) VERSION='$(VERSION)' MAINTAINER='$(MAINTAINER)' \
		$(TOOLS)/nfpm package -f scripts/package/nfpm.yaml -p $$p -t dist/ || exit 1; done
	rm -rf dist/p2prc dist/deb dist/rpm

## try-packages: install the .deb on a copy of this Debian, under a real systemd; wants root
try-packages: packages frp
	sh scripts/package/try.sh dist .frp/$(FRP_VERSION)

$(TOOLS)/nfpm:
	GOBIN=$(TOOLS) go install $(NFPM)

## test: everything; this is what CI runs
test: check cross frp-all unit lab

## check: format, vet, staticcheck
check: $(TOOLS)/gofumpt $(TOOLS)/staticcheck
	@out=$$($(TOOLS)/gofumpt -l .); [ -z "$$out" ] || { echo "gofumpt would change:"; echo "$$out"; exit 1; }
	go vet ./...
	$(TOOLS)/staticcheck ./...

$(TOOLS)/gofumpt:
	GOBIN=$(TOOLS) go install $(GOFUMPT)

$(TOOLS)/staticcheck:
	GOBIN=$(TOOLS) go install $(STATICCHECK)

## cross: build for every system
cross:
	@for p in $(PLATFORMS); do echo "build $$p"; GOOS=$${p%/*} GOARCH=$${p#*/} CGO_ENABLED=0 go build -o /dev/null ./cmd/p2prc || exit 1; done

## unit: all tests but the network lab, with the race detector, against real frp
unit: frp test-tools
	go run ./scripts/tally -race -timeout 25m $$(go list ./... | grep -v /scripts/lab)

## simulation: how fast 2,000 nodes learn of something, in virtual time; what a million identities take
simulation:
	go test -count=1 -v -run 'Simulation|Million' ./tables/record ./tables/sync

## lab: real NAT in network namespaces, without root where the system lets users have them
lab: frp test-tools
	go run ./scripts/tally -timeout 15m ./scripts/lab

## test-tools: what the tests use beside Go, on Debian as root
test-tools:
	@sh scripts/test-tools.sh

## compat: the main job and the rooms that touch frp, on every supported frp
compat: frp-all
	go run ./scripts/tally -race -count=1 ./frpconf/... ./admin/... ./supervisor/...

## bench: measured beside bare frp; writes bench.json
bench: frp
	go run ./scripts/bench

## frp: the frp that tests and `make run` use, in .frp/
frp: .frp/$(FRP_VERSION)/frpc

## frp-all: every frp that p2prc is tested with
frp-all: $(FRP_VERSIONS:%=.frp/%/frpc)

# frps is put in place first, so frpc stands for both.
.frp/%/frpc:
	sh scripts/install-frp.sh --from go --version $* --dir .frp/$*

## clean: remove what the targets made
clean:
	rm -rf bin dist .frp .tools bench.json
