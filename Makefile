# Everything runs in .venv, which the targets make themselves; only Python 3.11+ has to be there.
PYTHON ?= python3
BACKEND ?= jax
PROCESS ?= masked
WORKERS ?= auto
BIN := .venv/bin
BACKENDS := jax tensorflow torch
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: help quickstart test lint notebooks docs bench wheels clean

help:
	@echo "make quickstart [BACKEND=jax|tensorflow|torch] [PROCESS=masked|uniform]"
	@echo "                  distil the digits teacher into 8 steps, print the table, draw the picture"
	@echo "make test         install all three backends and run the tests on each [WORKERS=auto]"
	@echo "make lint         ruff"
	@echo "make notebooks    regenerate examples/*.ipynb from examples/*.py"
	@echo "make docs         the pages of docs/ and the demo as a site, build/docs/site/index.html"
	@echo "make bench        all benchmarks of speed and memory [BACKENDS='jax torch'], and docs/performance.md"
	@echo "make wheels       the wheel on Python 3.11 to 3.13, with the newest and oldest backends stated"

.venv/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv .venv
	@touch $@

.venv/quickstart-%: .venv/python pyproject.toml constraints.txt
	$(PIP) --editable '.[$*,examples]'
	@touch $@

# One at a time: torch first, so that the constraint decides which build is taken.
.venv/test: .venv/python pyproject.toml constraints.txt
	$(PIP) 'torch'
	$(PIP) --editable '.[torch,jax,tensorflow,examples,test]'
	@touch $@

quickstart: .venv/quickstart-$(BACKEND)
	KERAS_BACKEND=$(BACKEND) PROCESS=$(PROCESS) FOLDER=runs/digits_$(PROCESS) TF_CPP_MIN_LOG_LEVEL=3 \
		$(BIN)/python examples/digits.py

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

test: .venv/test lint
	set -e; only=; for backend in $(BACKENDS); do \
		echo "== $$backend"; \
		KERAS_BACKEND=$$backend TF_CPP_MIN_LOG_LEVEL=3 \
			$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "$$only" $(ARGS); \
		only="not plain"; \
	done

notebooks: .venv/test
	$(BIN)/python examples/make_notebooks.py

.venv/docs: .venv/python pyproject.toml constraints.txt
	$(PIP) 'torch'
	$(PIP) --editable '.[torch,jax,docs,export]'
	@touch $@

EXPORTED := $(wildcard keras_dmmd/exporting/*.py keras_dmmd/presets/*/weights.npz)
runs/demo/demo.html: .venv/docs examples/demo.py examples/demo.html $(EXPORTED)
	KERAS_BACKEND=torch FOLDER=runs/demo $(BIN)/python examples/demo.py

docs: .venv/docs runs/demo/demo.html
	KERAS_BACKEND=jax TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python docs/make_site.py

bench: .venv/test
	$(BIN)/python -m benchmarks.run_all --backends $(BACKENDS)

wheels: .venv/test
	$(BIN)/python tests/wheels.py --versions newest oldest

clean:
	rm -rf .venv build dist runs *.egg-info
