# The two commands of the README are `make run` and `make test`; both set up what they need first.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: setup run test lint bench faults docs clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

run: setup
	$(BIN)/hookseal demo

test: setup
	$(BIN)/python tests/side_by_side.py

lint: setup
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/architecture

# The long tier of the fault tests, power cuts among them: some two hours, as root, with figures in .faults/.
faults: setup
	HOOKSEAL_FAULTS=full $(BIN)/python -m pytest -q tests/fault

docs: setup
	$(BIN)/python -m hookseal.settings.reference > docs/settings.md
	$(BIN)/python tests/docs/requirements_page.py > docs/requirements.md

bench: setup
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
