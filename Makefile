# What CI runs is what is here: make setup lint test serve bench image. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DISTS := $(wildcard runtime operator)
SIDE_BY_SIDE := -n 3  # tests mostly wait

.DEFAULT_GOAL := help
.PHONY: help setup serve test test-unit test-contract lint format lock examples bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

setup: $(STAMP) ## everything that serving and testing need, in .venv

# Bytecode is compiled here: where PYTHONDONTWRITEBYTECODE is set, every start would compile everything anew.
$(STAMP): requirements/dev.txt requirements/uv.txt $(wildcard runtime/pyproject.toml operator/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "dragoman needs Python 3.11 or newer: make PYTHON=python3.12 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --compile-bytecode -r requirements/dev.txt
	for dist in $(DISTS); do $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e $$dist || exit 1; done
	$(BIN)/python -m compileall -q runtime/src $(wildcard operator/src)
	touch $@

examples/%/model.joblib: examples/%/train.py | $(STAMP)
	$(BIN)/python $<

examples: $(STAMP) ## train every example
	for train in examples/*/train.py; do $(BIN)/python $$train || exit 1; done

serve: $(STAMP) examples/iris/model.joblib ## serve the iris example; prints URLs, a curl for each dialect, the docs page
	$(BIN)/dragoman serve examples/iris/modeldeployment.yaml --log-format text

lint: $(STAMP) ## ruff, mypy strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy runtime/src $(wildcard operator/src) tests conftest.py tools bench
	$(BIN)/lint-imports

format: $(STAMP) ## let ruff put the code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test-unit: $(STAMP) ## pure tests, seconds
	$(BIN)/pytest tests/unit

test-contract: $(STAMP) tools examples ## over real sockets, with real servers and clients
	$(BIN)/pytest tests/contract

test: $(STAMP) tools cluster-tools examples ## all tests
	$(BIN)/pytest tests/unit tests/contract $(SIDE_BY_SIDE) --dist loadfile
	$(BIN)/pytest tests/cluster $(SIDE_BY_SIDE) --dist worksteal

lock: $(STAMP) ## renew requirements/*.txt
	for name in runtime operator dev uv build; do $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --universal \
		--python-version 3.11 --upgrade requirements/$$name.in -o requirements/$$name.txt || exit 1; done

clean: ## remove what the targets made
	rm -rf $(VENV) .cache bench/.work

-include $(wildcard mk/*.mk)
