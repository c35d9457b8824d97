# Everything one does with a checkout. Needs Python 3.11 or newer and make; the rest it installs
# into .venv, in the releases of constraints.txt. Stamp files there make a second run quick.

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
SOURCES := trio_chat tests $(wildcard benchmarks examples docs)

# Left out: 114 asks for a list of every function that takes a task_status, for the sake of 113; and
# 9xx, off by default, are about checkpoints in every function.
ASYNC_RULES := --disable=ASYNC114,ASYNC9

# The modules on which everybody's messages depend: every branch of them is tested.
CORE := protocol room rooms hub members wire session door server connection history/memory
empty :=
space := $(empty) $(empty)
comma := ,
CORE_FILES := $(subst $(space),$(comma),$(CORE:%=trio_chat/%.py))

# Everything anew, for a warning is only given while a page is read; it takes a few seconds.
SITE := $(BIN)/python -m sphinx -q -E -W --keep-going -n -d build/doctrees docs build/docs

.PHONY: help run cluster test test-all check docs format bench fuzz soak conformance pin clean

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' \
	  | awk -F '\t' '{ printf "  make %-11s %s\n", $$1, $$2 }'

run: $(VENV)/.package  ## install and serve; options as in make run ARGS="--port 0"
	@exec $(BIN)/trio-chat serve $(ARGS)

cluster: $(VENV)/.package  ## Redis, three nodes and a balancer, to try; ARGS="--nodes 5 --port 8000"
	@exec $(BIN)/python examples/cluster.py $(ARGS)

test: check replays  ## install what the tests need, run every check and all tests but the slow ones
	@MARKS="not slow" $(MAKE) --no-print-directory pytest

test-all: check replays  ## the same, and the slow tests
	@MARKS="" $(MAKE) --no-print-directory pytest

.PHONY: pytest
pytest: $(VENV)/.tests $(VENV)/.docs
	@marks=$$(.ci/system-packages "$$MARKS") && \
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report= -m "$$marks" $(ARGS)
	@echo "== coverage: every branch of the core" && \
	$(BIN)/coverage report --include='$(CORE_FILES)' --fail-under=100

check: $(VENV)/.tests $(VENV)/.docs  ## format, lint, types, layers and pages, without the tests
	@echo "== ruff format" && $(BIN)/ruff format --check $(SOURCES)
	@echo "== ruff" && $(BIN)/ruff check $(SOURCES)
	@echo "== flake8-async" && find $(SOURCES) -name '*.py' ! -path 'docs/pitfalls/*_wrong.py' \
	  -print0 | xargs -0 -n 40 -P 2 $(BIN)/flake8-async $(ASYNC_RULES)
	@echo "== mypy" && $(BIN)/mypy
	@echo "== import-linter" && $(BIN)/lint-imports
	@echo "== sphinx" && $(SITE)

docs: $(VENV)/.docs  ## build/docs/index.html: the pages as a site, with every lesson's replay
	@rm -rf build/docs && $(SITE)
	@$(MAKE) --no-print-directory replays
	@echo "build/docs/index.html is its first page"

.PHONY: replays
replays: $(VENV)/.package
	@echo "== the lessons' replays, which takes a minute" && $(BIN)/python docs/make_replays.py build/docs/replays

format: $(VENV)/.tests  ## rewrite the sources as ruff likes them
	@$(BIN)/ruff format $(SOURCES) && $(BIN)/ruff check --fix $(SOURCES)

bench: $(VENV)/.bench  ## measure; options as in make bench ARGS="--help"
	@exec $(BIN)/python -m benchmarks $(ARGS)

fuzz: $(VENV)/.tests  ## bend sessions until the server fails; options as in make fuzz ARGS="--minutes 10"
	@PYTHONPATH=tests exec $(BIN)/python -m fuzz $(ARGS)

soak: $(VENV)/.tests  ## whatever crowds do, for minutes; options as in make soak ARGS="--minutes 5 --seed 7"
	@exec $(BIN)/python tests/soak.py $(ARGS)

conformance: $(VENV)/.package  ## Autobahn's test suite against examples/echo.py; needs a Python 2.7
	@PYTHONPATH=tests exec $(BIN)/python -m conformance $(ARGS)

pin:  ## write constraints.txt anew, with today's releases
	@rm -rf $(VENV)-pin && $(PYTHON) -m venv $(VENV)-pin
	@$(VENV)-pin/bin/python -m pip install --quiet --upgrade pip hatchling editables
	@$(VENV)-pin/bin/python -m pip install --quiet --no-build-isolation --editable '.[redis]' --group test \
	  --group docs --group bench
	@sed -n '/^#/p' constraints.txt > $(VENV)-pin/new
	@$(VENV)-pin/bin/python -m pip freeze --all --exclude-editable | grep -v '^setuptools' \
	  >> $(VENV)-pin/new
	@mv $(VENV)-pin/new constraints.txt && rm -rf $(VENV)-pin

clean:  ## remove what was made
	rm -rf $(VENV) $(VENV)-pin dist build .coverage .hypothesis .mypy_cache .pytest_cache \
	  .ruff_cache .import_linter_cache benchmarks/peers/node/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- The virtual environment in three steps; one more for the site, one for the peers of bench ---

# What it says goes to standard error: the standard output of `make run` is the server's.
$(VENV)/.made: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; name it as in: make PYTHON=python3.12" >&2; exit 1; }
	@.ci/venv $(PYTHON) $(VENV)
	@echo "installing into $(VENV) ..." >&2
	@$(PIP) pip hatchling editables
	@touch $@

$(VENV)/.package: $(VENV)/.made pyproject.toml
	@$(PIP) --no-build-isolation --editable '.[redis]'
	@touch $@

$(VENV)/.tests: $(VENV)/.package
	@$(PIP) --group test
	@touch $@

$(VENV)/.docs: $(VENV)/.package
	@$(PIP) --group docs
	@touch $@

$(VENV)/.bench: $(VENV)/.tests benchmarks/peers/node/package-lock.json
	@$(PIP) --group bench
	@if command -v npm >/dev/null; then \
	  npm ci --prefix benchmarks/peers/node --ignore-scripts --no-audit --no-fund --loglevel=error >&2; \
	else \
	  echo "without npm, ws on Node.js and Bun are left out of what is compared" >&2; \
	fi
	@touch $@
