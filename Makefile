# Two commands do everything on a fresh machine: `make quickstart` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

PYTEST ?= -m "not slow"

.PHONY: quickstart test test-slow lint clean

quickstart: .venv/program  ## Set up, run the quick start, show its results.
	$(BIN)/python -m orchestrator examples/quickstart.yaml

test: .venv/developer  ## Set up, run the tests.
	$(BIN)/python -m pytest $(PYTEST)

test-slow: .venv/developer  ## The drills and surveys that take long: CI runs them too.
	$(BIN)/python -m pytest -m slow

lint: .venv/developer  ## Style, types, and who may import whom.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv

.venv/program: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable '.[quantised]'
	touch $@

.venv/developer: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable '.[dev]'
	touch $@
