# distd: run `make help`.
GO      ?= go
BIN     := bin/distd
LINT    := bin/golangci-lint
# A number of runs: with a time the fuzzer now and then ends with an error of its own.
FUZZ    ?= 20000x
# make check RACE= has the race detector in the long tests too.
RACE    ?= -short
# make lab ARGS="swarm -leaves 8" runs the lab, which wants root.
ARGS    ?= help
# make sim ARGS="-leaves 100" runs only a part of the table.
SIMARGS  = $(filter-out help,$(ARGS))
export CGO_ENABLED := 0

.PHONY: help build demo test check bench lab sim lint fmt fuzz clean

help: ## what can be made
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile

build: ## build bin/distd
	$(GO) build -trimpath -o $(BIN) ./cmd/distd

demo: build ## run a master and two datacenters here, and publish twice
	$(BIN) demo

test: ## run the tests; those that want root or foreign programs say why they skip
	$(GO) test -timeout 20m ./...

check: fmt-check lint ## formatting, vet, lint, short tests with the race detector, short fuzzing
	$(GO) vet ./...
	CGO_ENABLED=1 $(GO) test -race -timeout 20m $(RACE) ./...
	$(MAKE) fuzz FUZZ=$(FUZZ)

bench: ## run the Go benchmarks
	$(GO) test -run '^$$' -bench . -benchmem ./...

lab: build ## measure swarms and long links in network namespaces, and break them: make lab ARGS="swarm -leaves 8"
	$(GO) build -trimpath -o bin/lab ./test/lab
	bin/lab $(ARGS)

sim: ## run swarms in virtual time: make sim ARGS="-leaves 16 -only mixed", make sim ARGS=-ablation
	$(GO) run ./test/sim $(SIMARGS)

lint: $(LINT) ## run golangci-lint with the import rules
	$(LINT) run ./...

$(LINT): tools/go.mod
	cd tools && GOBIN=$(CURDIR)/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint

fmt: ## format the code
	gofmt -w cmd internal pkg test

.PHONY: fmt-check
fmt-check:
	@test -z "$$(gofmt -l cmd internal pkg test)" || { echo "not formatted:"; gofmt -l cmd internal pkg test; exit 1; }

fuzz: ## run every fuzz target FUZZ (20000x) times
	@set -e; for pkg in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "fuzz $$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZ) -fuzzminimizetime 1x $$pkg; \
		done; done

clean: ## remove what was built
	rm -rf bin
