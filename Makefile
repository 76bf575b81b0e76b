# Two commands do everything on a fresh machine with Python 3.11: `make demo` and `make test`.

PYTHON ?= python3
DATA ?= ../shared/data
ROWS ?= 200000 2000000 20000000
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Two OpenMP threads that wait for one another on busy cores stall 10 to 50 times: tests run in
# two processes of one thread each.
TEST_ENVIRONMENT := OMP_NUM_THREADS=1

.PHONY: all setup demo check test docs bench bench-tables bench-modalities bench-streams bench-online bench-serving soak clean

all: check test

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@echo "Installing into $(VENV): some minutes the first time, seconds after that."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[all]' --group dev
	touch $@

demo: setup  ## train on a real table that scikit-learn ships, beside baselines, with a report
	$(BIN)/python examples/demo.py demo/digits.csv
	$(BIN)/thalweg train demo/digits.csv --target digit --out demo/model

check: setup  ## format, lint, strict types, import layers, documents in step
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m typer thalweg.cli.main utils docs --name thalweg --title "Command line" \
		--output $(VENV)/cli.md >/dev/null
	diff -u docs/cli.md $(VENV)/cli.md || { echo "docs/cli.md is stale: run make docs"; exit 1; }
	$(BIN)/python scripts/draw_map.py --check

test: setup  ## every test and every example, with coverage
	$(TEST_ENVIRONMENT) $(BIN)/python -m pytest -n 2 --cov --cov-report=term:skip-covered \
		--cov-fail-under=90

docs: setup  ## write the pages that are made from the code
	$(BIN)/python -m typer thalweg.cli.main utils docs --name thalweg --title "Command line" \
		--output docs/cli.md
	$(BIN)/python scripts/draw_map.py

bench: setup  ## the loop, a table as it grows, databases: each beside its limit (half an hour)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/overhead.py
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/scale.py bench-results --rows $(ROWS)
	$(BIN)/python benchmarks/databases.py

bench-tables: setup  ## real tables beside their rivals, three seeds (about an hour)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/tables.py --data $(DATA) --out bench-results

bench-modalities: setup  ## texts, pictures, sounds and sets beside their limits (about an hour)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/modalities.py --data $(DATA) \
		--out bench-results/modalities

bench-streams: setup  ## streams beside predict, their latency and memory (a quarter of an hour)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/streams.py --data $(DATA) \
		--out bench-results/streams

bench-online: setup  ## learning on streams beside River, drift detectors, odd rows (half an hour)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/online.py --data $(DATA) \
		--out bench-results/online
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/drifting.py --data $(DATA) \
		--out bench-results/drifting
	$(BIN)/python benchmarks/drift.py --out bench-results/drift
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python benchmarks/anomalies.py --data $(DATA) \
		--out bench-results/anomalies

bench-serving: setup  ## behind HTTP, beside a bare endpoint, MLServer and LitServe (ten minutes)
	$(BIN)/python benchmarks/serving.py --data $(DATA) --out bench-results/serving

soak: setup  ## the tests that take minutes
	$(TEST_ENVIRONMENT) $(BIN)/python -m pytest -m soak --no-cov

clean:
	rm -rf $(VENV) demo build dist .coverage* .mypy_cache .ruff_cache .hypothesis
