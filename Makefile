PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
REQUIREMENTS := pyproject.toml constraints.txt

.PHONY: demo test clean

# A labelled dataset from scratch: installs the package, then runs dd-generate with its defaults.
demo: $(VENV)/.installed
	$(BIN)/dd-generate

# A change must pass this. Test files run in the order of their names: otherwise xdist would put files with few, long
# tests last, and one core would idle.
test: $(VENV)/.installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The stamps are newer than the requirements once these are installed, so nothing is reinstalled until they change.
$(VENV)/.installed: $(REQUIREMENTS) | $(BIN)/python
	$(BIN)/pip install --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-test: $(REQUIREMENTS) | $(BIN)/python
	$(BIN)/pip install --constraint constraints.txt --editable '.[test]'
	touch $@ $(VENV)/.installed
