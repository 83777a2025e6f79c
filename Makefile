# Everything runs from here; `make` alone lists the targets.
.DEFAULT_GOAL := help
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
UV_VERSION := 0.13.8
PROFILE ?= release
export VIRTUAL_ENV := $(CURDIR)/$(VENV)

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(UV):
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)

$(VENV)/.installed: requirements/dev.txt pyproject.toml | $(UV)
	$(UV) pip install --quiet --require-hashes -r requirements/dev.txt
	$(UV) pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

.venv-datacontract/.installed: requirements/datacontract.txt | $(UV)
	$(UV) venv --quiet --clear --python $(PYTHON) .venv-datacontract
	VIRTUAL_ENV=.venv-datacontract $(UV) pip install --quiet --require-hashes -r $<
	@touch $@

.venv-airflow/.installed: requirements/airflow.txt | $(UV)
	$(UV) venv --quiet --clear --python $(PYTHON) .venv-airflow
	VIRTUAL_ENV=.venv-airflow $(UV) pip install --quiet --require-hashes -r $<
	VIRTUAL_ENV=.venv-airflow PATH=$(CURDIR)/.venv-airflow/bin:$$PATH $(UV) pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

RUST_SOURCES := $(shell find crates -name '*.rs' -o -name Cargo.toml -o -name '*.pyi') Cargo.toml Cargo.lock
$(VENV)/.kernel-$(PROFILE): $(RUST_SOURCES) $(VENV)/.installed
	$(BIN)/maturin develop --quiet --locked --profile $(PROFILE) -m crates/data-processor-rs/Cargo.toml
	@rm -f $(VENV)/.kernel-*
	@touch $@

.PHONY: build
build: $(VENV)/.kernel-$(PROFILE) ## Install everything into .venv and build the kernel (PROFILE=quick while developing)

.PHONY: lock
lock: | $(UV) ## Resolve requirements/*.txt again
	$(UV) pip compile --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-package data-processor-rs --no-header -q pyproject.toml -o requirements/core.txt
	$(UV) pip compile --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-package data-processor-rs --no-header -q --all-extras --group dev pyproject.toml -o requirements/dev.txt
	$(UV) pip compile --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q requirements/datacontract.in -o requirements/datacontract.txt
	$(UV) pip compile --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q requirements/airflow.in -o requirements/airflow.txt

.PHONY: test
test: build .venv-datacontract/.installed .venv-airflow/.installed ## Run every check and test
	$(BIN)/python -m tests.run

.PHONY: lint
lint: build ## ruff, mypy, stubtest, import-linter, rustfmt, clippy
	$(BIN)/python -m tests.run --only lint

.PHONY: test-rust
test-rust: ## Rust tests only
	cargo test --locked --profile quick --workspace

.PHONY: test-python
test-python: build .venv-datacontract/.installed .venv-airflow/.installed ## Python tests only
	$(BIN)/pytest -q -n 2

.PHONY: test-slow
test-slow: build .venv-airflow/.installed ## Python tests that are marked slow and left out of the others
	$(BIN)/pytest -q -m slow --timeout 3600

.PHONY: demo
demo: build ## The shop under fire: 100,000 events, two kills, a repair, balanced books
	$(BIN)/python -m demo

.PHONY: demo-kafka
demo-kafka: build ## The shop on Kafka: a real broker and registry from pinned jars (needs Maven), a killed broker, foreign Avro
	$(BIN)/python -m demo.kafka

.PHONY: bench
bench: build ## The kernel beside Python, polars, DuckDB, pyarrow and others (BENCH_EVENTS=50000 for a quick look)
	BENCH_PROFILE=$(PROFILE) $(BIN)/python -m benchmarks

.PHONY: up
up: build ## Run the shop of this repository: API, processing, maintenance
	cd shop && ../$(BIN)/frazil up

.PHONY: airflow
airflow: build .venv-airflow/.installed ## Run the shop's DAGs in Airflow at http://127.0.0.1:8793
	FRAZIL_COMMAND=$(CURDIR)/$(BIN)/frazil .venv-airflow/bin/python -m frazil.airflow shop

.PHONY: chaos
chaos: build ## Kill everything, again and again, and count (slow)
	FRAZIL_CHAOS=1 $(BIN)/pytest -q -s tests/faults/test_kill_processor.py tests/faults/test_kill_everything.py --timeout 3600

.PHONY: faults
faults: build ## Kafka's faults at full size: a million events, 100 rebalances, 20 broker kills (slow)
	$(BIN)/pytest -q -s -m slow tests/faults/test_kafka_*.py --timeout 3600

.PHONY: fuzz
fuzz: ## Coverage-guided fuzzing of every parser, a minute each (SECONDS_EACH=600 for longer)
	fuzz/run.sh

.PHONY: clean
clean: ## Remove what was built
	rm -rf $(VENV) .venv-* target .demo .demo-kafka .demo-kafka-servers .pytest_cache .mypy_cache .ruff_cache
