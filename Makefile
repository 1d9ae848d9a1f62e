# Two commands do everything on a fresh machine: `make quickstart` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

PYTEST ?= -m "not slow"
MUTANTS ?= --sample 100 --seed 1

.PHONY: quickstart test test-slow coverage mutants lint clean

quickstart: .venv/program  ## Set up, run the quick start, show its results.
	$(BIN)/python -m orchestrator examples/quickstart.yaml

test: .venv/developer  ## Set up, run the tests.
	$(BIN)/python -m pytest $(PYTEST)

test-slow: .venv/developer  ## The drills and surveys that take long: CI runs them too.
	$(BIN)/python -m pytest -m slow

coverage: .venv/developer  ## Which lines no test of the default suite runs.
	$(BIN)/coverage run -m pytest $(PYTEST)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --show-missing

mutants: .venv/mutation  ## Plant faults in the formulas: at least 95 of 100 must fail their own tests.
	$(BIN)/python -m tests.mutants $(MUTANTS)

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

.venv/mutation: .venv/developer
	$(INSTALL) --editable '.[mutation]'
	touch $@
