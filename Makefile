# frp: the stock frps and frpc that tests run, built from source by way of the
# Go module proxy, their hashes pinned in scripts/install-frp.sh.
# 0.61.0 is the oldest frp that p2prc accepts.

FRP_VERSION  := 0.70.1
FRP_VERSIONS := 0.61.0 0.65.0 $(FRP_VERSION)

.PHONY: frp frp-all compat

## frp: build the frp that tests use, into .frp/
frp: .frp/$(FRP_VERSION)/frpc

## frp-all: build every frp that p2prc is tested with
frp-all: $(FRP_VERSIONS:%=.frp/%/frpc)

# frps is put in place first, so frpc stands for both.
.frp/%/frpc:
	sh scripts/install-frp.sh --from go --version $* --dir .frp/$*

## compat: test against every frp, not only the pinned one
compat: frp-all
	go test -race -count=1 ./frpconf/... ./admin/...
