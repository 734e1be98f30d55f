# The ways into this repository. `make` alone lists them.
# Each target fails when what it needs is missing; none skips.

CARGO ?= cargo
RULES := config/prometheus

.DEFAULT_GOAL := help
.PHONY: help build test rules emulators fmt lint doc demo bench build-time deny ci

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the program (debug)
	$(CARGO) build --locked

test: rules emulators ## everything: unit, whole daemon, emulator suite, alert rules
	CARGO=$(CARGO) tests/tools/run_tests.py --locked --all-features

rules: ## check and test the Prometheus rules and the example scrape configuration
	@set -e; promtool=$$(tests/tools/promtool.sh promtool); set -x; \
	"$$promtool" check config $(RULES)/prometheus.yml; \
	"$$promtool" test rules $(RULES)/rules_test.yml

emulators: ## install what the emulator suite needs, in a virtual environment under target/
	tests/emulators/setup.sh

fmt: ## format the code
	$(CARGO) fmt

lint: ## formatting and clippy, also of the program without the sandbox; warnings are errors
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets --all-features -- -D warnings
	.ci/production

# There are no examples. Naming them gives the dependencies the features that `lint` has checked them with, so that they are not checked again.
doc: ## build the API documentation, warnings are errors
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --locked --no-deps --all-features --lib --examples

demo: ## a pipeline in a process with the probe in front of it; prints the address of the page
	$(CARGO) run --locked -- demo

bench: ## run the benchmarks
	$(CARGO) bench --locked

build-time: ## measure what a clean clone takes to build, debug and release, and what an edit takes
	CARGO=$(CARGO) benches/build_time.py

deny: ## licences, banned crates, sources; advisories where their database can be reached
	.ci/deny

ci: ## what the build server runs
	.ci/run
