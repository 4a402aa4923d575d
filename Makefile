SHELL := /bin/bash
PYTHON_BIN := .venv/bin

.PHONY: help setup demo test lint docs format clean

help:  ## show the targets
	@grep -hE '^[a-z]+:.*## ' Makefile | sed 's/:.*## /\t/'

setup:  ## make .venv with everything pinned; does nothing when nothing changed
	@tools/setup.sh

demo: setup  ## run the node on a generated scene over real topics; results in out/demo
	@$(PYTHON_BIN)/diffseg_demo --output out/demo

# Three workers on two cores: those that test the node mostly wait.
test: lint docs  ## linters, documentation and all tests
	@$(PYTHON_BIN)/python -m pytest -n 3 --dist loadfile

lint: setup  ## the ament linters' rules, static types, and the direction of imports
	@$(PYTHON_BIN)/ruff check
	@$(PYTHON_BIN)/mypy
	@$(PYTHON_BIN)/lint-imports

docs: setup  ## the documentation as a site in out/docs
	@$(PYTHON_BIN)/python tools/generate_docs.py --check
	@$(PYTHON_BIN)/mkdocs build --quiet --strict --site-dir out/docs

format: setup  ## correct what the linters can correct themselves
	@$(PYTHON_BIN)/ruff check --fix

clean:  ## remove results and caches, keep .venv
	@rm -rf out build install log *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
