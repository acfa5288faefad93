# Thin names for what the scripts and the binary do. `make` alone explains them.
.PHONY: help demo test run check interop deploy-check proof proof-sabotage fuzz mutants bench tools
.DEFAULT_GOAL := help

help: ## this list
	@sed -n -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 21

demo: tools ## one sign-in from enrollment to offline verification, on this machine
	@cargo build --locked --package countersign
	@cargo run --quiet --locked --package countersign -- demo

test: ## all tests, on SQLite and on a throw-away PostgreSQL (ARGS="-p countersign-store": a part)
	@scripts/test.sh $(ARGS)

run: tools ## the server, with its defaults: 127.0.0.1:8080, SQLite in ./data
	@cargo run --locked --package countersign -- serve

check: ## format, lints, documents, licences, and the arrows between the crates
	@scripts/check.sh

interop: ## independent clients and verifiers against the stand-ins, the API and the tokens
	@scripts/interop.sh

deploy-check: ## image, compose file and unit without a container engine, up to an approval (docs/deploy.md)
	@scripts/deploy-check.sh

proof: tools ## the proofs in full (docs/proof.md); `make test` runs them small
	@scripts/proof.sh

proof-sabotage: tools ## break the server on purpose, and see whether the harness finds it (ARGS="NAME...": some)
	@scripts/proof-sabotage.sh $(ARGS)

fuzz: ## each fuzz target for a minute from its corpus (ARGS="SECONDS TARGET...")
	@scripts/fuzz.sh $(ARGS)

mutants: ## changes the verifying code, one thing at a time: a test has to notice (docs/proof.md)
	@scripts/mutants.sh $(ARGS)

bench: tools ## measure what docs/performance.md says, on this machine, and write it there
	@scripts/bench.sh

tools:
	@scripts/ensure-build-tools.sh
