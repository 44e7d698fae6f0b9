PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
REQUIREMENTS := pyproject.toml constraints.txt

.PHONY: demo test clean

# A labelled dataset from nothing: installs, then runs dd-generate with its defaults.
demo: $(VENV)/.installed
	$(BIN)/dd-generate

# What a change must pass.
test: $(VENV)/.installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	# In the order of their names. Reordered, files of few and long tests would come last, and one core wait for the other.
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The stamps are newer than the requirements once these are installed: nothing is reinstalled until they change.
$(VENV)/.installed: $(REQUIREMENTS) | $(BIN)/python
	$(BIN)/pip install --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-test: $(REQUIREMENTS) | $(BIN)/python
	$(BIN)/pip install --constraint constraints.txt --editable '.[test]'
	touch $@ $(VENV)/.installed
