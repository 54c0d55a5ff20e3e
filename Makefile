# One command each; every one does its own set-up. `make help` lists them.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo pictures servers slow-servers test test-all soak coverage check generate dist docs bench bench-detection clean

help:
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

# The set-up: repeated only when the metadata changed. `demo` and `check` need less than `test`.
$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer found on PATH. Install one, or: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: setup.cfg setup.py pyproject.toml | $(VENV)/bin/python
	@echo "Setting up $(VENV) for the demo (once) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@

$(VENV)/.check: setup.cfg setup.py pyproject.toml | $(VENV)/bin/python
	@echo "Setting up $(VENV) for checks (once) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[check]'
	@touch $@

$(VENV)/.dev: setup.cfg setup.py pyproject.toml | $(VENV)/bin/python
	@echo "Setting up $(VENV) for tests (once) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.check $(VENV)/.demo

demo: $(VENV)/.demo ## a real model, three incidents, alerts by mail and Slack; leaves build/demo/
	$(BIN)/logging-lib demo --out build/demo

# Two processes, a file's tests in one of them; tests/conftest.py sends all that need one server to one process.
WORKERS ?= 2

pictures: demo ## the documentation's pictures, of the demo and of natural variation
	$(BIN)/logging-lib dashboards preview --store build/demo/store --out build/preview
	$(BIN)/python tools/pictures.py
	$(BIN)/python -m tools.draw_variation

servers: $(VENV)/.dev ## fetch what the tests start, once: Elasticsearch, JRuby, Chromium (about 1 GB)
	$(BIN)/python -m tools.fetch_test_servers

slow-servers: $(VENV)/.dev ## fetch what the slow tests start as well: an Elasticsearch with Watcher (150 MB)
	$(BIN)/python -m tools.fetch_test_servers --slow

test: servers ## the tests that every change must pass
	$(BIN)/python -m pytest -m 'not slow' -n $(WORKERS) --dist loadfile --junitxml build/test/results.xml

test-all: slow-servers ## all tests, the long ones too, with more random examples each
	$(BIN)/python -m pytest --hypothesis-profile full -n $(WORKERS) --dist loadfile --junitxml build/test/results.xml

soak: servers ## all parts for an hour, killed and out of disk at random, and an account of each event; leaves build/soak/account.json
	$(BIN)/python -m tools.soak

coverage: servers ## the same tests with the share of lines and branches that they run; leaves build/coverage/
	$(BIN)/python -m pytest -m 'not slow' -n $(WORKERS) --dist loadfile --cov --cov-report=term --cov-report=html

check: $(VENV)/.check ## style, types, import order, generated files, retired words
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m logging_lib.schema.generate --check
	$(BIN)/python -m logging_lib.dashboards.generate --check
	$(BIN)/python -m logging_lib.watch.generate --check
	$(BIN)/python -m logging_lib.cli.reference --check
	$(BIN)/python tools/check_words.py

generate: $(VENV)/.check ## rewrite what is made from fields.yml, kibana_dashboards/*.yml, watchers/*.yml and the code
	$(BIN)/python -m logging_lib.schema.generate
	$(BIN)/python -m logging_lib.dashboards.generate
	$(BIN)/python -m logging_lib.watch.generate
	$(BIN)/python -m logging_lib.cli.reference

dist: $(VENV)/.check ## sdist and wheel in dist/, checked, installed into an empty environment and tried there
	rm -rf dist build/lib *.egg-info/SOURCES.txt
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/python tools/smoke_test.py dist/*.whl

docs: $(VENV)/.dev ## the documentation as a site that needs no network; leaves build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: servers ## the benchmarks, figures beside their goals; leaves build/bench/results.json
	$(BIN)/python -m benchmarks

bench-detection: $(VENV)/.dev ## how soon watches find faults, and false alarms, beside Evidently and NannyML; writes benchmarks/detection/README.md
	$(BIN)/python -m benchmarks.detection

clean: ## remove what was built
	rm -rf build dist *.egg-info
