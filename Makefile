# What a developer of Tastemaker runs. `make` lists it. Each target makes what it needs, the .venv first of all.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

# uv is used where it is at hand and otherwise installed by pip into the new .venv, never into the system's Python.
# Compiled at once (20 s): where Python may not write bytecode, each process would take 4 s more to import TensorFlow.
$(READY): requirements/dev.lock pyproject.toml
	@echo "== .venv: installing the locked packages (about 2.6 GB unpacked; a minute or two on a first run)"
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Tastemaker needs Python 3.11 or later, and $(PYTHON) is " + sys.version.split()[0] + ". Name a newer one: make PYTHON=python3.12 ...")'
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@command -v uv >/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@PATH="$$PATH:$(CURDIR)/$(BIN)" uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements/dev.lock
	@PATH="$$PATH:$(CURDIR)/$(BIN)" uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

.PHONY: venv
venv: $(READY) ## make .venv from the lock file

.PHONY: demo
demo: $(READY) ## the whole loop: train, serve, recommend, feed back, lose the model server; under five minutes
	@$(BIN)/python -m demo $(DEMO_ARGS)

.PHONY: up
up: $(READY) ## as demo, and leave it running
	@$(BIN)/python -m demo --keep-running $(DEMO_ARGS)

.PHONY: down
down: $(READY) ## end what `make up` left running
	@$(BIN)/python -m demo --stop

.PHONY: lint
lint: $(READY) ## ruff (style, formatting), buf (protos)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd proto && ../$(BIN)/buf lint

.PHONY: type
type: $(READY) ## mypy, strict
	$(BIN)/mypy

.PHONY: check
check: lint type ## the quick part of the tests, with lint and type: under three minutes
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow and not faults"

# Two files of tests at a time: most tests wait for processes that start. More at once only makes Ray's late. In their own
# order, which ends with files that take seconds; else files with few tests come last, and those are the long ones.
.PHONY: test
test: lint type ## the tests, with lint and type
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not faults"

.PHONY: test-faults
test-faults: $(READY) ## the tests that kill clusters and workers and wait for what comes back: up to minutes each
	$(BIN)/pytest -m faults

.PHONY: bench
bench: $(READY) ## measure speed beside a reference and write docs/benchmarks.md
	$(BIN)/python -m bench $(BENCH)

.PHONY: protos
protos: $(READY) ## generate the Python code beside the .proto files
	$(BIN)/python tools/generate_protos.py

# requirements/NAME.lock: what an image, or a tool with a mind of its own, installs. `build` makes the images' wheel.
COMPILE := UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url
STORES := --extra parquet --extra postgres --extra redis

.PHONY: lock
lock: ## resolve the lock files anew from pyproject.toml and requirements/*.in
	$(COMPILE) --extra dev pyproject.toml -o requirements/dev.lock
	$(COMPILE) --extra server --extra postgres --extra redis pyproject.toml -o requirements/front.lock
	$(COMPILE) --extra modelserver pyproject.toml -o requirements/modelserver.lock
	$(COMPILE) --extra modelserver --extra gpu pyproject.toml -o requirements/modelserver-gpu.lock
	$(COMPILE) --extra jobs --extra mlflow --extra server $(STORES) pyproject.toml -o requirements/jobs.lock
	$(COMPILE) --extra jobs --extra mlflow --extra server $(STORES) --extra gpu pyproject.toml -o requirements/jobs-gpu.lock
	$(COMPILE) requirements/build.in -o requirements/build.lock
	$(COMPILE) requirements/policy.in -o requirements/policy.lock

.PHONY: k8s-check
k8s-check: $(READY) ## render the overlays and hold images, compose file and manifests against schemas, policies and the code
	$(BIN)/pytest tests/deploy

.PHONY: clean
clean: ## remove what was built, trained and cached in this folder, the .venv too
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist models lists var
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
