# make demo | make test | make test-apps | make docs | make check | make bundled: each works from a fresh clone with
# Python 3.11+ and a package index.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= out
# Not --quiet, which silences warnings so that they are no errors any more.
MKDOCS := PATH="$(abspath $(BIN)):$$PATH" NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

.PHONY: demo test test-apps docs check bundled clean

demo: $(VENV)/.installed
	$(BIN)/pocold demo --output $(OUT)/demo.png

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2 -q

# What takes too long for every time: runs of several processes, the documentation's commands; the page, in Chromium (or what POCOLD_BROWSER names), Ray
# where its extra is installed, OpenVINO likewise, and BlazePose where its files are (pocold pose --install); what is missing
# is skipped and said.
test-apps: $(VENV)/.installed-test-apps
	$(BIN)/python -m pytest -q -m "apps or slow"

# The pages and the reference as a site in site/; a warning, such as a broken link, is an error.
docs: $(VENV)/.installed-docs
	$(MKDOCS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MKDOCS)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "pocold needs Python 3.11 or newer, got $$($(PYTHON) --version); say which with: make PYTHON=/path/to/python3.11 demo" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[test]"
	@touch $@

$(VENV)/.installed-test-apps: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[test-apps]"
	@touch $@

$(VENV)/.installed-train: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[metrics,train]"
	@touch $@

$(VENV)/.installed-docs: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[docs]"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	@touch $@

# The bundled model from nothing, days of one core; stopped, the same command goes on. Its weights and numbers lie in
# $(OUT)/bundled/pipeline then. PHOTOGRAPHS: folders of pictures without people, such as a system's wallpapers.
bundled: $(VENV)/.installed-train
	$(BIN)/python scripts/bundled.py $(OUT)/bundled $(if $(PHOTOGRAPHS),--photographs $(PHOTOGRAPHS))

clean:
	rm -rf $(VENV) $(OUT) site
