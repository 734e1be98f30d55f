# Common tasks. `make` without a target lists them.
# A target fails if something that it needs is missing; none skips.

CARGO ?= cargo
RULES := config/prometheus

.DEFAULT_GOAL := help
.PHONY: help build test mutants stalls fuzz faults connections chain rules rules-files config-docs package-files api api-docs sessions cost statements canary-faults load-report load-profiles browser screenshots rules-month emulators fmt lint doc demo bench build-time deny ci ecs-files dashboards-files dashboards-pictures

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the program (debug)
	$(CARGO) build --locked

test: emulators ## run all tests: unit, whole daemon, emulator suite, alert rules
	CARGO=$(CARGO) tests/tools/run_tests.py --locked --all-features

mutants: ## change the tracker in one place at a time and check that a test notices (takes an hour)
	CARGO=$(CARGO) tests/tools/mutants.py

stalls: ## print how soon stalls are told, and a month in which canaries are lost by chance (takes 2 minutes)
	TRACEPROBE_STALLS=long $(CARGO) test --locked --release --test stalls -- --nocapture --test-threads 1

fuzz: ## fuzz TARGET (default: all in turn), RUNS times each (default: 100000)
	tests/fuzz/run.sh

faults: ## put the probe through the faults of a host and a network, in their long form (takes 8 minutes); prints a table
	TRACEPROBE_FAULTS=long $(CARGO) test --locked --test faults -- --nocapture

chain: ## run every scenario through Prometheus and Alertmanager with real times (takes 25 minutes); prints a table
	TRACEPROBE_CHAIN=real $(CARGO) test --locked --test chain -- --nocapture

connections: ## hold thousands of connections of the web port and check that scrapes are answered (takes 8 minutes)
	$(CARGO) build --locked --release
	tests/faults/connections.py target/release/traceprobe

rules: ## check and test the Prometheus rules at three intervals, and the Alertmanager configuration
	$(CARGO) test --locked --test rules

rules-files: ## write the rules and the Alertmanager configuration of the example again
	$(CARGO) run --locked -- rules --config config/traceprobe.toml --output $(RULES)/rules.yml
	$(CARGO) run --locked -- rules --config config/traceprobe.toml --alertmanager --output $(RULES)/alertmanager.yml

dashboards-files: ## write the dashboards of the example and the configurations of exporters again
	for for in grafana cloudwatch google exporters; do \
		$(CARGO) run --locked -- dashboards $$for --config config/traceprobe.toml --output dashboards/$$for || exit 1; \
	done

dashboards-pictures: ## draw Grafana's dashboards in a stall, an archive outage and a cost overrun into FOLDER (takes 70 minutes)
	$(CARGO) build --locked
	for tenants in 3 50; do for fault in stall archive cost; do \
		$$(tests/tools/venv.sh tests/browser | tail -n 1) tests/dashboards/draw.py $(or $(FOLDER),target/dashboards) --tenants $$tenants --fault $$fault || exit 1; \
	done; done

config-docs: ## write the JSON schema of the configuration and docs/configuration.md again, from the code
	TRACEPROBE_WRITE_DOCS=1 $(CARGO) test --locked --lib config::tests -- --quiet

ecs-files: ## write the CloudFormation templates again, from config/iam and config/ecs
	.ci/cloudformation/generate.py

package-files: ## write what a package installs besides the program into FOLDER (default: target/package)
	$(CARGO) build --locked
	.ci/package-files target/debug/traceprobe $(or $(FOLDER),target/package)

api: ## check every answer of a daemon against its /openapi.json with many requests (takes minutes)
	TRACEPROBE_API=long $(CARGO) test --locked --test daemon api:: -- --nocapture

sessions: ## revoke the session of a daemon after 25 s, twice, and print when canaries are accepted again (takes 2 minutes)
	TRACEPROBE_SESSIONS=long $(CARGO) test --locked --test daemon sessions:: -- --nocapture

api-docs: ## write docs/api.md again, from the code
	TRACEPROBE_WRITE_DOCS=1 $(CARGO) test --locked --lib web::openapi -- --quiet

cost: ## compare docs/cost.md with the counters of a probe before 50 tenants (takes 6 minutes); prints a table
	TRACEPROBE_COST=long $(CARGO) test --locked --all-features --test daemon priced:: -- --nocapture

statements: ## leave out each statement of config/iam in turn and print what `traceprobe check` says (takes a minute)
	$(CARGO) test --locked --all-features --test emulators statements:: -- --nocapture

canary-faults: ## put `traceprobe check --canary` through one fault at a time, and print what it says (takes 3 minutes)
	TRACEPROBE_CANARY_FAULTS=long $(CARGO) test --locked --all-features --test emulators canary_faults:: -- --nocapture

load-report: ## send the baseline load through the emulators for 5 minutes, and compare its report with what they recorded
	TRACEPROBE_LOAD=long $(CARGO) test --locked --all-features --test emulators load:: -- --nocapture

load-profiles: ## send the shipped profiles in full through the sandbox, two at a time; PROFILES=a,b chooses, TIME=0.1 shortens
	TRACEPROBE_LOAD=long $(if $(PROFILES),TRACEPROBE_LOAD_PROFILES=$(PROFILES)) $(if $(TIME),TRACEPROBE_LOAD_TIME=$(TIME)) \
		$(CARGO) test --release --locked --test daemon load::every_shipped -- --nocapture

browser: ## open the pages in Debian's chromium (takes 3 minutes); GRID=grid opens all scenarios in all widths and colours
	TRACEPROBE_BROWSER=$(or $(GRID),short) $(CARGO) test --locked --test browser -- --nocapture

screenshots: ## renew the pictures of the docs; with FOLDER=..., draw the first screens of all scenarios too (takes minutes)
	TRACEPROBE_BROWSER=pictures TRACEPROBE_PICTURES=$(FOLDER) $(CARGO) test --locked --test browser -- --nocapture

rules-month: ## count the critical alerts of a healthy month of 50 tenants; prints a table (takes minutes)
	TRACEPROBE_RULES_MONTH=1 $(CARGO) test --locked --test rules -- --nocapture chance

emulators: ## install what the emulator suite, the browser tests, and the checks of API and deployment need under target/
	tests/emulators/setup.sh
	tests/api/setup.sh
	tests/browser/setup.sh
	tests/deploy/setup.sh

fmt: ## format the code
	$(CARGO) fmt

lint: ## check formatting, the texts of mutants, and run clippy, also without the sandbox; warnings are errors
	$(CARGO) fmt --check
	tests/tools/mutants.py --check
	$(CARGO) clippy --locked --all-targets --all-features -- -D warnings
	.ci/production

# There are no examples. With --examples, the dependencies get the same features as in `lint`, so that they
# are not checked again.
doc: ## build the API documentation; warnings are errors
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --locked --no-deps --all-features --lib --examples

demo: ## run a sandbox pipeline with the probe watching it; prints the address of the page
	$(CARGO) run --locked -- demo

bench: ## run the benchmarks
	$(CARGO) bench --locked

build-time: ## measure how long a clean clone takes to build (debug and release), and a build after an edit
	CARGO=$(CARGO) benches/build_time.py

deny: ## check licences, banned crates and sources; also advisories if their database can be reached
	.ci/deny

ci: ## run everything that a change has to pass, as the build server does
	.ci/run
