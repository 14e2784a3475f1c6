# The book and its tests. `make help` lists what there is; nothing but Python and make is needed.

PYTHON ?= python3
SCALE ?= laptop
DEVICE ?= cpu
JOBS ?= 2
PORT ?= 8000
CHAPTER ?=
LAB_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LAB_SETTINGS := $(VENV)/share/jupyter/lab/settings/overrides.json
# In a container there is often no other user than root, whom JupyterLab refuses without this.
LAB_AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

export PYTHONPATH := $(CURDIR)

.DEFAULT_GOAL := help
.PHONY: help setup data book test lint serve lab reference verify mutants trust clean

help:  ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20
	@echo
	@echo "  SCALE=smoke|laptop|paper (default $(SCALE)), DEVICE=cpu|cuda (default $(DEVICE)),"
	@echo "  JOBS=chapters at a time (default $(JOBS)), PORT of make serve (default $(PORT)),"
	@echo "  CHAPTER=smoothing for make reference, LAB_ARGS=options of JupyterLab, BN_DATA=a folder with images"

setup: $(READY)  ## create the environment (2 minutes, 5 GB; the others do it by themselves)

$(READY): requirements.txt book/_assets/npm/package-lock.json
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, and $(PYTHON) is %d.%d; use make PYTHON=/path/to/python" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/pip || { echo "Creating the environment in $(VENV) ..."; \
	  $(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }; }
	@echo "Installing the packages of requirements.txt (minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@PYTHONPATH=. $(BIN)/python -c 'from pathlib import Path; from lib.build.assets import vendor; vendor(Path.cwd())'
	@mkdir -p $(dir $(LAB_SETTINGS))
	@echo '{"@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"markdown": "Jupytext Notebook"}}}' > $(LAB_SETTINGS)
	@touch $@

data: $(READY)  ## fetch CIFAR-10 (139 MB, once)
	@$(BIN)/python -m lib data

# Without the images, which no chapter needs to be read, the book is built all the same.
book: $(READY)  ## fetch what is missing, execute the chapters, build the site in _build/html
	@$(BIN)/python -c 'from lib import data; raise SystemExit(data.available() != "cifar10")' || $(BIN)/python -m lib data || \
	  echo "Building without CIFAR-10: records stand in for it, and cells that train a network say which images they use."
	@$(BIN)/python -m lib book --scale $(SCALE) --device $(DEVICE) --jobs $(JOBS)

# Two halves side by side: the pages (nbval of the references, the book in a browser), and everything else with
# coverage. Not pytest-cov: nbval would start coverage inside the kernels, and they die of it.
PAGES := tests/references tests/test_browser.py
test: lint  ## all tests, with nbval of the references and coverage of lib
	@$(BIN)/python -c 'from lib.runs import prepare; prepare("smoke")'
	@mkdir -p _build; $(BIN)/python -m pytest $(PAGES) --durations=5 > _build/pages.log 2>&1 & pages=$$!; \
	  trap 'kill $$pages' INT TERM; \
	  $(BIN)/python -m coverage run -m pytest tests $(PAGES:%=--ignore=%) --durations=5; units=$$?; \
	  wait $$pages; pages=$$?; cat _build/pages.log; \
	  $(BIN)/python -m coverage report && exit $$((units | pages))

lint: $(READY)  ## form: ruff
	@$(BIN)/ruff format --quiet --check lib tests && $(BIN)/ruff check --quiet lib tests

serve: $(READY)  ## the built site on localhost, port PORT
	@test -f _build/html/index.html || { echo "There is no site yet: run make book first."; exit 1; }
	$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

lab: $(READY)  ## JupyterLab on the chapters, which open as notebooks
	$(BIN)/jupyter lab --notebook-dir=. --LabApp.default_url=/lab/tree/book/index.md $(LAB_AS_ROOT) $(LAB_ARGS)

reference: $(READY)  ## make tests/references anew after a wanted change; CHAPTER=smoothing: of one
	@$(BIN)/python -m lib reference $(CHAPTER)

verify: $(READY)  ## check the committed records against the code
	@$(BIN)/python -m lib verify --device $(DEVICE)

mutants: $(READY)  ## break the science in one line at a time, and see which tests notice (hours; ONLY=word for a few)
	@$(BIN)/python tests/mutants.py $(ONLY)

trust: $(READY)  ## kill runs and builds, flip bits, feed nonsense, for the page on trust (half an hour; ONLY=word for a few)
	@OMP_NUM_THREADS=1 $(BIN)/python tests/trust.py $(ONLY)

clean:  ## remove what was built; the environment, images and computed records stay
	rm -rf .pytest_cache .hypothesis .coverage
	@test ! -d _build || find _build -mindepth 1 -maxdepth 1 ! -name records ! -name data -exec rm -rf {} +
