# skiff: `make up` builds and starts a cluster, `make test` runs every test. See README.md.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build

GO      ?= go
BUILD   := build
BUNDLE  := $(BUILD)/bundle
DATA    := kubelet/bundle/data/bundle.tar.zst
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# What /version and kubernetes_build_info tell about the build.
COMMIT  := $(shell git rev-parse HEAD 2>/dev/null)
BUILT   := $(shell TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null)
VERSIONS := k8s.io/component-base/version
BUILDINFO := -X $(VERSIONS).gitVersion=v1.37.2+skiff.$(VERSION) -X $(VERSIONS).gitMajor=1 -X $(VERSIONS).gitMinor=37 \
	-X $(VERSIONS).gitCommit=$(COMMIT) -X $(VERSIONS).gitTreeState=$(if $(findstring dirty,$(VERSION)),dirty,clean) -X $(VERSIONS).buildDate=$(BUILT)
LDFLAGS := -s -w -X skiff/config.Build=$(VERSION) $(BUILDINFO)
TOOLMOD := hack/bundle/go.mod
UPFLAGS ?=

# What skiff is built from.
GOFILES = $(shell find apis cmd config controllers ingress internal kubelet scheduler -name '*.go' -not -name '*_test.go' 2>/dev/null) go.mod

# One set of build settings, so that tests and binary share the build cache.
export CGO_ENABLED := 0
export GOFLAGS := -trimpath -buildvcs=false $(GOFLAGS)

RUNTIME := $(BUNDLE)/runc $(BUNDLE)/containerd-shim-runc-v2 $(BUNDLE)/bridge $(BUNDLE)/host-local $(BUNDLE)/loopback

.PHONY: build up down clean-data test fuzz test-race lint bench bench-start bench-api bench-controllers bench-scheduler same-scheduler e2e deps test-deps bundle clean generate fmt deadcode help

## help: this list
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## build: bin/skiff with everything it needs inside
build: bin/skiff

## up: build, start the server in the background, wait until the node is Ready
up:
	@hack/step "system packages" $(MAKE) --no-print-directory deps
	@hack/step "runtime bundle" $(MAKE) --no-print-directory bundle
	@hack/step "bin/skiff" $(MAKE) --no-print-directory build
	@bin/skiff up $(UPFLAGS)

## down: stop the server, keep data and containers
down:
	@bin/skiff down $(UPFLAGS)

## clean-data: remove every trace of the default cluster from this host
clean-data:
	@bin/skiff clean $(UPFLAGS)

## deps: what the build needs from Debian
deps:
	@hack/packages gcc libc6-dev libseccomp-dev pkg-config

## test-deps: what the tests need from Debian
test-deps: deps
	@hack/packages iproute2 util-linux busybox-static python3-minimal libpython3-stdlib

## test: every test; builds and installs what the tests need
test: test-deps bundle build clients extensions
	$(GO) vet ./...
	$(GO) test -timeout 20m ./...
	@$(MAKE) --no-print-directory fuzz

FUZZTIME ?= 60s

## fuzz: every target of test/fuzz for FUZZTIME, side by side; an input that fails stays in its testdata
fuzz:
	@mkdir -p $(BUILD)
	$(GO) test -c -o $(BUILD)/fuzz.test ./test/fuzz
	hack/fuzz $(BUILD)/fuzz.test $(FUZZTIME)

## e2e: only the workflow with unmodified clients and real containers
e2e: test-deps bundle build clients
	$(GO) test -timeout 20m -count=1 ./test/e2e

## test-race: the same under the race detector, three times
test-race: test-deps bundle build clients extensions
	CGO_ENABLED=1 $(GO) test -race -count=3 -timeout 60m ./...

BENCH   := cd test/bench && $(GO) test -tags bench -count=1 -v

## bench: every benchmark below, one after the other
bench: bench-start bench-api bench-controllers bench-scheduler

## bench-start: start-up times, memory, CPU and size; five runs of a minute and a half
bench-start: build clients
	$(BENCH) -timeout 30m ./start

## bench-api: the API server against kube-apiserver and etcd; writes docs/benchmarks, fails when a target is missed
bench-api: build $(BUILD)/bench/kube-apiserver $(BUILD)/bench/etcd
	$(BENCH) -timeout 60m ./api $(if $(ROUNDS),-rounds $(ROUNDS)) -out $(CURDIR)/docs/benchmarks

## bench-controllers: the controllers against kube-controller-manager; writes docs/benchmarks, fails when a target is missed
bench-controllers: build $(BUILD)/bench/kube-controller-manager $(BUILD)/bench/manager
	$(BENCH) -timeout 120m ./controllers $(if $(ROUNDS),-rounds $(ROUNDS)) -out $(CURDIR)/docs/benchmarks

## bench-scheduler: the scheduler against kube-scheduler; writes docs/benchmarks, fails when a target is missed
bench-scheduler: build $(BUILD)/bench/kube-scheduler $(BUILD)/bench/scheduler
	$(BENCH) -timeout 120m ./scheduler $(if $(ROUNDS),-rounds $(ROUNDS)) -out $(CURDIR)/docs/benchmarks

## same-scheduler: skiff's scheduler and kube-scheduler decide about the same pods in random clusters
same-scheduler: build $(BUILD)/bench/kube-scheduler
	$(BENCH) -timeout 60m ./scheduler/differential $(if $(SEED),-seed $(SEED))

# skiff's scheduler in a process of its own.
$(BUILD)/bench/scheduler: $(GOFILES) $(wildcard test/bench/scheduler/engine/*.go) test/bench/go.mod
	cd test/bench && $(GO) build -ldflags "-s -w" -o $(CURDIR)/$@ ./scheduler/engine

# skiff's controllers in a process of their own.
$(BUILD)/bench/manager: $(GOFILES) $(wildcard test/bench/controllers/manager/*.go) test/bench/go.mod
	cd test/bench && $(GO) build -ldflags "-s -w" -o $(CURDIR)/$@ ./controllers/manager

# Kubernetes' own programs as its release builds them, for comparison.
UPSTREAM := test/bench/upstream
KUBEVERSION := -X k8s.io/component-base/version.gitVersion=v1.37.2 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37

$(BUILD)/bench/kube-%: $(UPSTREAM)/kubernetes/go.mod
	@mkdir -p $(@D)
	cd $(<D) && $(GO) build -tags selinux,notest,grpcnotrace -ldflags "-s -w $(KUBEVERSION)" -o $(CURDIR)/$@ k8s.io/kubernetes/cmd/kube-$*

$(BUILD)/bench/etcd: $(UPSTREAM)/etcd/go.mod
	@mkdir -p $(@D)
	cd $(<D) && $(GO) build -ldflags "-s -w" -o $(CURDIR)/$@ go.etcd.io/etcd/server/v3

TOOL := $(GO) tool -modfile=tools.mod

## generate: apis/openapi and apis/declarative from the types of k8s.io/api
generate:
	hack/openapi.sh
	hack/declarative.sh

## fmt: format as the linter wants it
fmt:
	$(TOOL) gofumpt -w apis cmd config controllers hack ingress internal kubelet scheduler test

## deadcode: functions that neither the binary nor a test reaches
deadcode:
	$(TOOL) deadcode -test ./...

## lint: golangci-lint with .golangci.yml
lint: bin/golangci-lint
	bin/golangci-lint run ./...

bin/golangci-lint:
	GOBIN=$(CURDIR)/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

clean:
	rm -rf bin $(BUILD) $(DATA)

## bundle: runc, the shim, CNI plugins and the pause image, compressed for embedding
bundle: $(DATA)

$(BUNDLE)/runc: $(TOOLMOD)
	@mkdir -p $(@D)
	CGO_ENABLED=1 $(GO) build -modfile=$(TOOLMOD) -tags "seccomp urfave_cli_no_docs netgo osusergo" \
		-ldflags "-s -w -linkmode external -extldflags -static -X main.version=1.5.2" -o $@ github.com/opencontainers/runc

$(BUNDLE)/containerd-shim-runc-v2: $(TOOLMOD)
	@mkdir -p $(@D)
	$(GO) build -modfile=$(TOOLMOD)  -ldflags "-s -w" -tags "no_grpc" -o $@ github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2

$(BUNDLE)/bridge $(BUNDLE)/loopback: $(TOOLMOD)
	@mkdir -p $(@D)
	$(GO) build -modfile=$(TOOLMOD)  -ldflags "-s -w" -o $@ github.com/containernetworking/plugins/plugins/main/$(@F)

$(BUNDLE)/host-local: $(TOOLMOD)
	@mkdir -p $(@D)
	$(GO) build -modfile=$(TOOLMOD)  -ldflags "-s -w" -o $@ github.com/containernetworking/plugins/plugins/ipam/host-local

$(BUNDLE)/pause: hack/pause/pause.c
	@mkdir -p $(@D)
	$(CC) -Os -Wall -Wextra -Werror -static -s -o $@ $<

$(DATA): $(RUNTIME) $(BUNDLE)/pause $(wildcard hack/pack/*.go internal/ociimage/*.go)
	$(GO) run ./hack/pack -out $@ -pause $(BUNDLE)/pause $(RUNTIME)

bin/skiff: $(DATA) $(GOFILES) $(shell find config/manifests -name '*.yaml' 2>/dev/null)
	$(GO) build -ldflags "$(LDFLAGS)" -o $@ ./cmd/skiff

CLIENTS := $(BUILD)/clients
$(CLIENTS)/kubectl: test/clients/kubectl/go.mod
	@mkdir -p $(@D)
	cd $(<D) && $(GO) build -ldflags "-s -w $(KUBEVERSION)" -o $(CURDIR)/$@ k8s.io/kubernetes/cmd/kubectl

$(CLIENTS)/helm3: test/clients/helm3/go.mod
	@mkdir -p $(@D)
	cd $(<D) && $(GO) build -ldflags "-s -w -X helm.sh/helm/v3/internal/version.version=v3.22.0" -o $(CURDIR)/$@ helm.sh/helm/v3/cmd/helm

$(CLIENTS)/helm4: test/clients/helm4/go.mod
	@mkdir -p $(@D)
	cd $(<D) && $(GO) build -ldflags "-s -w -X helm.sh/helm/v4/internal/version.version=v4.3.1" -o $(CURDIR)/$@ helm.sh/helm/v4/cmd/helm

SAMPLE := test/aggregated/programs/sample-apiserver
$(CLIENTS)/sample-apiserver: $(SAMPLE)/go.mod
	@mkdir -p $(@D)
	cd $(<D) && $(GO) build -ldflags "-s -w" -o $(CURDIR)/$@ k8s.io/sample-apiserver

.PHONY: extensions
## extensions: Kubernetes' sample API server and the etcd it needs, for test/aggregated
extensions: $(CLIENTS)/sample-apiserver $(BUILD)/bench/etcd

.PHONY: clients
## clients: unmodified kubectl and helm, built from their modules, for the tests
clients: $(CLIENTS)/kubectl $(CLIENTS)/helm3 $(CLIENTS)/helm4
