# Everything CI does, by the same names.
TOOL := go tool -modfile=tools/go.mod
# By count, a few seconds each: with a time, go test now and then reports its own deadline as a failure.
FUZZTIME ?= 50000x
# The race detector needs a C compiler; without one the tests run without it, and say so.
RACE := $(shell command -v "$$(go env CC)" >/dev/null 2>&1 && echo -race)

.PHONY: help test lint cover fuzz bench test-integration

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

test: ## run all tests of the library, with the race detector, shuffled
	@$(if $(RACE),:,echo "no C compiler: the tests run without the race detector")
	go test $(RACE) -shuffle=on ./...
	go test -run 'TestAllocations|TestLimitTable' . # the race detector allocates, and makes eleven seeds slow

lint: ## gofumpt, vet and staticcheck over every module
	@out="$$($(TOOL) gofumpt -l .)"; if [ -n "$$out" ]; then echo "not formatted by gofumpt:"; echo "$$out"; exit 1; fi
	go vet ./...
	$(TOOL) staticcheck ./...
	cd bench && go vet ./...
	cd integration && go vet ./...
	cd examples/importer && go vet ./...
	cd examples/webhooks && go vet ./...
	cd inbox/boltinbox && go vet ./...

cover: ## statement coverage of the root package, with what is not covered
	go test -coverprofile=/tmp/belay.cover -coverpkg=. . >/dev/null
	@go tool cover -func=/tmp/belay.cover | awk '$$3 != "100.0%"'

fuzz: ## run each fuzz target for FUZZTIME (50000x, a few seconds)
	@for pkg in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
		done; \
	done

bench: ## compare with bare net/http and a stack made by hand, interleaved, medians; and the table of limits, on virtual time
	cd bench && go run .
	@echo; echo "limits, 2,000 calls each, worst of 11 seeds: time, over the optimum, 429s, failed"
	@go test -count=1 -run TestLimitTable -v . | sed -n 's/^.*limits: /  /p'

test-integration: ## Stripe's mock server through a fault proxy, and an authorization server from npm (skipped without Node), an import that is killed twenty times, webhooks whose receiver is killed
	cd integration && go test $(RACE) -count=1 -v -timeout 10m ./...
	cd examples/importer && go test -count=1 -v -timeout 10m .
	BELAY_LOAD=1 go test -count=1 -v -run TestLoad ./inbox
	cd inbox/boltinbox && go test $(RACE) -count=1 -short ./... && go test -count=1 -v -run 'Killed|Acknowledgements' -timeout 10m .
	cd examples/webhooks && go run .
	cd bench && go test -count=1 ./...
