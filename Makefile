# Every target does its own set-up: on a fresh Debian machine with rustup, `make demo` is the first command.

.DEFAULT_GOAL := help
.PHONY: help demo test browser box vm matrix deb rpm record lint bench fmt fuzz ordeal clean

NODES ?= 28
DIR ?= .demo
PROFILE ?= dev

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## one aggregator and NODES=28 agents in DIR=.demo, until Ctrl-C (PROFILE=release for figures)
	@scripts/setup.sh build
	@NODES='$(NODES)' DIR='$(DIR)' PROFILE='$(PROFILE)' scripts/demo.sh

test: ## every test
	@scripts/setup.sh test
	@scripts/test.sh

browser: ## the page in a real browser (SCREENSHOTS=DIR keeps pictures)
	@scripts/setup.sh build
	@SCREENSHOTS='$(SCREENSHOTS)' scripts/browser.sh

box: ## configuration on machines with systemd, apt, dnf and nftables, as root (PARTS="apt lockout" for some)
	@scripts/setup.sh box
	@scripts/box.sh $(PARTS)

vm: ## the packages on an emulated machine with its own kernel: limits, lost power, as root (PARTS="install limits" for some)
	@scripts/setup.sh vm
	@scripts/vm.sh $(PARTS)

matrix: ## the link over networks that drop, lose, reorder and rebind, as root
	@scripts/setup.sh matrix
	@scripts/matrix.sh

deb rpm: ## packages into dist/ (PROFILE=dev for a quick look)
	@scripts/setup.sh $@
	@PROFILE='$(if $(filter file,$(origin PROFILE)),release,$(PROFILE))' scripts/package.sh $@

record: ## the state of this release for later ones to open, at each release
	@scripts/setup.sh test
	@cargo build --workspace --bins
	@cargo nextest run -p campanile-tests --test e2e --run-ignored only --no-capture -E 'test(=recorded_state::record)'

lint: ## format, clippy, documentation, licences, scripts; warnings are errors
	@scripts/setup.sh lint
	@scripts/lint.sh

bench: ## our figures beside their budgets
	@scripts/setup.sh test
	@bench/run.sh $(BENCH_ARGS)

fmt: ## format the code
	@cargo fmt --all

fuzz: ## FRAMES=100000000 random and mutated frames through the decoders
	@scripts/setup.sh build
	@FRAMES='$(FRAMES)' scripts/fuzz.sh

ordeal: ## hard tests of backups in their long form: KILLS=200 each, FILES=200000, AWAY_S=3600
	@scripts/setup.sh test
	@KILLS='$(KILLS)' FILES='$(FILES)' AWAY_S='$(AWAY_S)' scripts/ordeal.sh

clean: ## stop the demo, remove what was built
	@DIR='$(DIR)' scripts/clean.sh
