# Needs Python >= 3.11, make and git. `make PYTHON=python3.12 test` picks the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet

.PHONY: help venv quickstart test test-long lint docs clean

help:
	@echo "make quickstart   sample 2D U(1) gauge theory with a flow, beside HMC and the exact answer"
	@echo "make test         the test suite"
	@echo "make test-long    the rest: whole programs, faults, fuzz, coverage of error bars; prints what it counted"
	@echo "make lint         ruff, types, import layers"
	@echo "make docs         documentation in docs/_build/html"
	@echo "make venv         only the environment in $(VENV)"
	@echo "make clean        remove the environment and built files"

venv: $(VENV)/.run

# One stamp per set of packages: quickstart does not wait for the test tools.
$(VENV)/.run: pyproject.toml requirements/run.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "trivmap needs Python >= 3.11, but $(PYTHON) is %d.%d: use make PYTHON=..." % v[:2])'
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) -r requirements/run.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	$(PIP) -r requirements/dev.txt
	@touch $@

$(VENV)/.docs: $(VENV)/.run requirements/docs.txt
	$(PIP) -r requirements/docs.txt
	@touch $@

quickstart: $(VENV)/.run
	$(BIN)/trivmap quickstart

# One BLAS thread: the exact results multiply many small matrices, which several threads make slower.
# Compilation, most of the time, keeps one core busy: a worker per core, and a file stays with its worker. It takes less
# time with XLA's older fusion emitters and no optimisation (jaxlib of requirements/run.txt; flags unknown to another
# one would end the process, hence here and not in conftest.py). README, documentation and canaries run without these flags.
# Slow tests compute for longer than they compile, so that a little optimisation pays.
test: OPTIMISATION := 0
test-long: OPTIMISATION := 1
PYTEST = OPENBLAS_NUM_THREADS=1 \
	XLA_FLAGS="--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=$(OPTIMISATION)" \
	$(BIN)/python -m pytest -n auto --maxprocesses 4

test: $(VENV)/.dev
	$(PYTEST) --dist loadfile -m "not slow"

# What the tests counted (kills, mutations, coverage) is printed at the end: docs/survives.md and docs/statistics.md quote it.
# Signals and kills of processes depend on the load of the machine: what fails runs once more, alone.
# `make test-long SHARE=0/2` runs the first of two parts.
SHARE ?= 0/1
test-long: $(VENV)/.dev
	$(PYTEST) --dist load -m slow --share $(SHARE) || $(PYTEST) -n 0 --last-failed -m slow --share $(SHARE)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	PYTHONPATH=src $(BIN)/lint-imports

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

clean:
	rm -rf $(VENV) docs/_build
