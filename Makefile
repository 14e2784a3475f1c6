# The book and its tests. `make help` lists what there is; nothing but Python and make is needed.

PYTHON ?= python3
SCALE ?= laptop
DEVICE ?= cpu
JOBS ?= 2
PORT ?= 8000

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LAB_SETTINGS := $(VENV)/share/jupyter/lab/settings/overrides.json

export PYTHONPATH := $(CURDIR)

.DEFAULT_GOAL := help
.PHONY: help setup book test serve lab reference verify clean

help:  ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20
	@echo
	@echo "  SCALE=smoke|laptop|paper (default $(SCALE)), DEVICE=cpu|cuda (default $(DEVICE)),"
	@echo "  JOBS=chapters at a time (default $(JOBS)), PORT of make serve (default $(PORT))"

setup: $(READY)  ## create the environment (2 minutes, 5 GB; the others do it by themselves)

$(READY): requirements.txt book/_assets/npm/package-lock.json
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, and $(PYTHON) is %d.%d; use make PYTHON=/path/to/python" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/pip || { echo "Creating the environment in $(VENV) ..."; \
	  $(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }; }
	@echo "Installing the packages of requirements.txt (minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@PYTHONPATH=. $(BIN)/python -c 'from pathlib import Path; from lib.assets import vendor; vendor(Path.cwd())'
	@mkdir -p $(dir $(LAB_SETTINGS))
	@echo '{"@jupyterlab/docmanager-extension:plugin": {"defaultViewers": {"markdown": "Jupytext Notebook"}}}' > $(LAB_SETTINGS)
	@touch $@

book: $(READY)  ## execute the chapters and build the site in _build/html
	@$(BIN)/python -m lib book --scale $(SCALE) --device $(DEVICE) --jobs $(JOBS)

# Two halves side by side: the pages (nbval of the references, the book in a browser), and everything else with
# coverage. Not pytest-cov: nbval would start coverage inside the kernels, and they die of it.
PAGES := tests/references tests/test_browser.py
test: $(READY)  ## all tests, with nbval of the references and coverage of lib
	@$(BIN)/python -c 'from lib.results import prepare; prepare("smoke")'
	@mkdir -p _build; $(BIN)/python -m pytest $(PAGES) --durations=5 > _build/pages.log 2>&1 & pages=$$!; \
	  trap 'kill $$pages' INT TERM; \
	  $(BIN)/python -m coverage run -m pytest tests $(PAGES:%=--ignore=%) --durations=5; units=$$?; \
	  wait $$pages; pages=$$?; cat _build/pages.log; \
	  $(BIN)/python -m coverage report && exit $$((units | pages))

serve: $(READY)  ## the built site on localhost, port PORT
	@test -f _build/html/index.html || { echo "There is no site yet: run make book first."; exit 1; }
	$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

lab: $(READY)  ## JupyterLab on the chapters, which open as notebooks
	$(BIN)/jupyter lab --notebook-dir=book

reference: $(READY)  ## make tests/references anew after a wanted change
	@$(BIN)/python -m lib reference

verify: $(READY)  ## check the committed records against the code
	@$(BIN)/python -m lib verify --device $(DEVICE)

clean:  ## remove what was built; the environment, images and computed records stay
	rm -rf .pytest_cache .hypothesis .coverage
	@test ! -d _build || find _build -mindepth 1 -maxdepth 1 ! -name records ! -name data -exec rm -rf {} +
