# The one task runner. `make` alone lints, checks types and tests.
PYTHON ?= .venv/bin/python

.PHONY: all install lint types test samples
all: lint types test

install:
	python3 -m venv .venv && .venv/bin/pip install -q -e '.[dev]'

lint:
	$(PYTHON) -m ruff check src tests benchmarks scripts

types:
	$(PYTHON) -m mypy

test:
	$(PYTHON) -m pytest -n 2

samples:
	$(PYTHON) scripts/make_samples.py
