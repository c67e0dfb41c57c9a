# Everything CI does, by the same names.
TOOL := go tool -modfile=$(CURDIR)/tools/go.mod
# By count, a few seconds each: with a time, go test now and then reports its own deadline as a failure.
FUZZTIME ?= 50000x
# The race detector needs a C compiler; without one the tests run without it, and say so.
RACE := $(shell command -v "$$(go env CC)" >/dev/null 2>&1 && echo -race)
# SQLite and its C library, translated to Go, allocate their own memory, which the race detector does not know: it would find
# nothing of ours there, and take ten times as long.
RACE_SQL := $(RACE) $(if $(RACE),-gcflags=modernc.org/sqlite/lib=-race=false -gcflags=modernc.org/libc=-race=false)
# go test -v, which says once more at its end what has failed, and what was skipped.
VERBOSE := $(TOOL) gotestsum --format standard-verbose --

# Every module of the repository, by the folder of its go.mod.
MODULES := $(patsubst %/,%,$(dir $(shell git ls-files --cached --others --exclude-standard '*go.mod')))
VERSION ?= v0.1.0

.PHONY: help cassettes test lint cover fuzz bench test-integration test-prometheus test-storm release-check

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

test: ## run all tests of the library, with the race detector, shuffled
	@$(if $(RACE),:,echo "no C compiler: the tests run without the race detector")
	go test $(RACE) -shuffle=on ./...
	go test -run 'TestAllocations|TestLimitTable' . # the race detector allocates, and makes eleven seeds slow

lint: ## gofumpt, vet and staticcheck, and every module builds on its own
	@out="$$($(TOOL) gofumpt -l .)"; if [ -n "$$out" ]; then echo "not formatted by gofumpt:"; echo "$$out"; exit 1; fi
	$(TOOL) staticcheck ./...
	@for mod in $(MODULES); do \
		echo "$$mod"; (cd $$mod && GOWORK=off go build -o /dev/null ./... && GOWORK=off go vet ./...) || exit 1; \
	done

release-check: ## pack all modules as VERSION into a file proxy, build a stranger's module on them, install every command
	cd tools && go run ./cmd/releasecheck -version "$(VERSION)"

# Coverage is of the packages that a call, a token, a webhook or a batch goes through.
COVERED := .,./internal/limiter,./webhook,./oauth,./bulk

cover: ## statement coverage of the core, with the functions that are not covered whole
	go test -coverprofile=/tmp/belay.cover -coverpkg=$(COVERED) . ./internal/limiter ./webhook ./oauth ./bulk >/dev/null
	@go tool cover -func=/tmp/belay.cover | awk '$$3 != "100.0%"'

fuzz: ## run each fuzz target for FUZZTIME (50000x, a few seconds)
	@grep -rHo '^func Fuzz[A-Za-z0-9]*' --include='*_test.go' . | sed 's|/[^/]*:func | |' | sort | while read -r pkg target; do \
		echo "$$pkg $$target"; \
		go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x $$pkg </dev/null || exit 1; \
	done

bench: ## compare with bare net/http and a stack made by hand, interleaved, medians; recovery, waiting calls, windows by the clock, a thousand hosts, limits
	cd bench && go run .
	@echo; echo "what waits, recovery after outages, windows by the clock, a thousand integrations"
	@cd bench && go test -count=1 -v -run 'TestOthersWaiting|TestRecovery|TestWindowsByTheClock|TestThousandIntegrations|TestBesideTrouble' . \
		| sed -n -E 's/^.*_test.go:[0-9]+: (waiting|recovery|clock|thousand): /  \1: /p'
	@echo; echo "limits, 2,000 calls each, worst of 11 seeds: time, over the optimum, 429s, failed"
	@go test -count=1 -run TestLimitTable -v . | sed -n 's/^.*limits: /  /p'

cassettes: ## record the shipped cassettes again, from Stripe's mock server, an authorization server and fakes
	cd integration && BELAY_RECORD=1 go test -count=1 -run 'TestRecord' .
	go test -count=1 -run TestCassette ./examples/drivers/guesty -record
	cd examples/drivers/attio && go test -count=1 -run TestCassette . -record

test-integration: ## Stripe's mock server through a fault proxy, and an authorization server from npm (skipped without Node), an import that is killed twenty times, webhooks whose receiver is killed, metrics and alerts with promtool, a real Prometheus and a real Alertmanager, the page in a browser, belaysql and tasks with SQLite and PostgreSQL, whose workers are killed (skipped where Debian's packages cannot be installed)
	command -v chromium >/dev/null || (apt-get update -q && apt-get install -y -q --no-install-recommends chromium) >/dev/null 2>&1 || true
	command -v prometheus-alertmanager >/dev/null || (apt-get update -q && apt-get install -y -q --no-install-recommends prometheus-alertmanager) >/dev/null 2>&1 || true
	cd integration && $(VERBOSE) $(RACE) -count=1 -timeout 10m ./...
	cd examples/importer && $(VERBOSE) -count=1 -timeout 10m .
	BELAY_LOAD=1 $(VERBOSE) -count=1 -run TestLoad ./inbox
	cd inbox/boltinbox && go test $(RACE) -count=1 -short ./... && $(VERBOSE) -count=1 -run 'Killed|Acknowledgements' -timeout 10m .
	cd examples/webhooks && go run .
	command -v promtool >/dev/null || (apt-get update -q && apt-get install -y -q --no-install-recommends prometheus) >/dev/null 2>&1 || true
	ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || (apt-get update -q && apt-get install -y -q --no-install-recommends postgresql) >/dev/null 2>&1 || true
	cd belaysql && BELAY_POSTGRES=1 $(VERBOSE) $(RACE_SQL) -count=1 -timeout 10m .
	cd tasks && BELAY_POSTGRES=1 go test $(RACE_SQL) -short -count=1 -timeout 10m ./...
	cd tasks && BELAY_POSTGRES=1 $(VERBOSE) -count=1 -run 'Kill|Schedules|Processes|Deploy|DeadLetters|Recover|Outage|Limit|Gone|Retention|Turns|Clock' -parallel 4 -timeout 15m .
	cd tasks/ui && BELAY_POSTGRES=1 go test $(RACE_SQL) -count=1 .
	cd examples/drivers/attio && go test $(RACE) -count=1 .
	cd examples/tasks && BELAY_POSTGRES=1 $(VERBOSE) -count=1 -timeout 5m .
	cd belayotel && go test $(RACE) -count=1 ./...
	cd belayprom && go test $(RACE) -short -count=1 ./... && $(VERBOSE) -count=1 -run 'TestPromtool|TestRules|TestQueries|TestAllocations|TestLabels' .
	$(MAKE) -j2 --output-sync=target test-prometheus test-storm # both wait most of the time
	cd bench && go test -count=1 -short ./...

test-prometheus:
	cd belayprom && BELAY_PROMETHEUS=1 $(VERBOSE) -count=1 -run TestPrometheus -timeout 10m .

test-storm:
	cd examples/health && BELAY_PROMETHEUS=1 $(VERBOSE) -count=1 -run TestStorm -timeout 10m .
