# Needs Python 3.11+ and make; everything else is installed into .venv, and again whenever pyproject.toml changes.
PYTHON ?= python3
# Test processes side by side. Most of the time they wait for other processes, so more than there are cores.
JOBS ?= 3
ARGS ?=

python := .venv/bin/python
installed := .venv/.installed
typed := .venv/.typed

.DEFAULT_GOAL := help
.PHONY: help install hooks test test-cold test-docs test-outages test-browser screenshots check types format changelog dist demo bench bench-peers torture matrix clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed 's/:.*## /\t/' | expand -t 12

$(installed): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0] + \
		": make PYTHON=/path/to/python3" if sys.version_info < (3, 11) else 0)'
	test -x $(python) || $(PYTHON) -m venv .venv
	$(python) -m pip install --quiet --disable-pip-version-check --editable '.[ui,dev-redis,examples,test,lint,release]'
	touch $@

install: $(installed)  ## create or update .venv

hooks: $(installed)  ## check format, lint and types before every commit
	$(python) -m pre_commit install

test: $(installed)  ## the tests, on a private Redis (ARGS='-k name' to choose)
	$(python) -m pytest -n $(JOBS) --dist loadfile --ignore tests/browser --ignore tests/test_docs.py -m 'not outage' $(ARGS)

test-docs: $(installed)  ## what README and docs/ show, run as it stands there
	$(python) -m pytest -n $(JOBS) tests/test_docs.py $(ARGS)

test-outages: $(installed)  ## the tests that stop, fill, demote or slow a server of their own
	$(python) -m pytest -n $(JOBS) --dist loadfile -m outage tests/integration tests/acceptance $(ARGS)

test-browser: $(installed)  ## the dashboard in the Chromium of this machine, if there is one
	$(python) -m pytest tests/browser $(ARGS)

test-cold: $(installed)  ## the tests on real processes, every turn replayed from scratch
	WORKFLOWS_WARM=0 $(python) -m pytest -n $(JOBS) --dist loadfile tests/acceptance $(ARGS)

check: $(installed)  ## format, lint, types and unit tests
	$(python) -m ruff format --check .
	$(python) -m ruff check .
	$(python) -m mypy
	$(python) -m pytest -n $(JOBS) tests/unit tests/test_layers.py

$(typed): $(installed)
	$(python) -m pip install --quiet --disable-pip-version-check --editable '.[types]'
	touch $@

types: $(typed)  ## read a user's program with both type checkers
	$(python) -m mypy
	$(python) -m pytest tests/typing

format: $(installed)  ## put the code into shape
	$(python) -m ruff check --fix-only --quiet .
	$(python) -m ruff format .

changelog: $(installed)  ## gather changes/ into CHANGELOG.md (VERSION=1.2.3)
	$(python) -m towncrier build --yes --version $(VERSION)

dist: $(installed)  ## build the archives, and try the wheel in an environment of its own
	rm -rf dist .wheel
	$(python) -m build --outdir dist .
	$(PYTHON) -m venv .wheel
	.wheel/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl
	.wheel/bin/workflows --version
	cd .wheel && bin/python -I -c 'import orchestrator.loop, worker.engine, workflows.client'
	rm -rf .wheel

demo: $(installed)  ## a guided tour in this terminal
	$(python) -m examples.demo $(ARGS)

screenshots: $(installed)  ## pictures of the dashboard for its page, made from the demo
	$(python) -m tests.browser.screenshots

bench: $(installed)  ## measure speed against the limit of this machine (ARGS='--quick' to see that it works)
	$(python) -m benchmarks $(ARGS)

bench-peers: $(installed)  ## the same against other libraries, each in an environment of its own below .peers/
	$(python) -m benchmarks --peers $(ARGS)

torture: $(installed)  ## kill, freeze and restart everything under load (ARGS='--short' for a minute)
	$(python) -m tests.torture $(ARGS)

matrix: $(installed)  ## every Python with every Redis and Valkey found here (ARGS='--python 3.12')
	$(python) -m tests.matrix $(ARGS)

clean:  ## remove what the other targets made
	rm -rf .venv .matrix .peers build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
