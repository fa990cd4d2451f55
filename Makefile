# Two commands from an empty machine: `make run` and `make test`. All else is for people who work on the code.
PYTHON ?= python3
BIN := .venv/bin
SAMPLE := sample_data/case
RESULTS := results
NIIVUE := imaging_pipeline/io/report/templates/niivue.umd.js

.DEFAULT_GOAL := run
.PHONY: run test check bench figures campaigns pictures docs lock clean

run: .venv/.ready $(NIIVUE) $(SAMPLE)/truth.json
	$(BIN)/imaging-pipeline run $(SAMPLE) --config configs/mpnst.yaml --out $(RESULTS) --workers 2

test: .venv/.ready
	tools/install-programs
	$(BIN)/pytest -n 2 --dist worksteal --cov --cov-report=term:skip-covered -m "not slow"

check: .venv/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/write_docs.py --check

# Side by side with peers in one run: figures are ratios.
bench: .venv/.ready $(SAMPLE)/truth.json
	set -e; for script in benchmarks/bench_*.py; do $(BIN)/python -m benchmarks.$$(basename $$script .py); done

# Accuracy on phantoms no parameter has seen.
figures: .venv/.ready $(SAMPLE)/truth.json
	set -e; for script in benchmarks/figures_*.py; do $(BIN)/python -m benchmarks.$$(basename $$script .py); done

# What takes too long for every commit: thousands of bad inputs, random courses, mutated criteria.
campaigns: .venv/.ready
	$(BIN)/pytest -n 2 -m slow
	$(BIN)/python -m tests.criteria.mutation

# The pictures of the documentation, from the sample case.
pictures: run
	$(BIN)/python -m tools.take_pictures

docs: .venv/.ready
	$(BIN)/python tools/write_docs.py

# Names, versions and hashes only: no addresses.
lock: .venv/.ready
	$(PYTHON) -m venv build/lock && build/lock/bin/pip install --quiet uv
	build/lock/bin/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet --upgrade -o requirements.lock

clean:
	rm -rf .venv build dist $(RESULTS) $(SAMPLE) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage

.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("imaging_pipeline needs Python 3.11 or newer; name one: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# For the reports' page of three planes; on a machine without npm they do without that page, and say so.
$(NIIVUE): package-lock.json
	@{ command -v npm >/dev/null && npm ci --silent --fetch-retries=0; } || echo "no npm, or no registry: reports without NiiVue"

$(SAMPLE)/truth.json: .venv/.ready
	$(BIN)/imaging-pipeline sample $(SAMPLE)
