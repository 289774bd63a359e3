# Everything a fresh machine needs beyond Go, git and make is set up by the
# targets themselves: frp comes through the Go module proxy, its hashes pinned
# in scripts/install-frp.sh.

FRP_VERSION  := 0.70.1
FRP_VERSIONS := 0.61.0 0.65.0 $(FRP_VERSION)
TOOLS        := $(CURDIR)/.tools
GOFUMPT      := mvdan.cc/gofumpt@v0.9.2
STATICCHECK  := honnef.co/go/tools/cmd/staticcheck@v0.7.0
PLATFORMS    := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

.PHONY: build run test check cross unit lab lab-tools compat bench frp frp-all clean

## build: write bin/p2prc
build:
	go build -trimpath -o bin/ ./cmd/p2prc

## run: a reverse proxy and a server on this machine, until Ctrl-C
run: build frp
	@sh scripts/run.sh

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
unit: frp
	go run ./scripts/tally -race -timeout 25m $$(go list ./... | grep -v /scripts/lab)

## lab: real NAT in network namespaces, without root where the system lets users have them
lab: frp lab-tools
	go run ./scripts/tally -timeout 15m ./scripts/lab

## lab-tools: nft, ip, iperf3, sshd for the lab, on Debian as root
lab-tools:
	@sh scripts/lab-tools.sh

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
	rm -rf bin .frp .tools bench.json
