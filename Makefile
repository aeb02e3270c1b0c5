# `make demo` and `make test` are all a new user needs; both install what is missing.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_STAMP := $(VENV)/.installed-daemon
WORKERS ?= 4
MINUTES ?= 60
MUTANTS := .venv-mutants
CHILDREN ?= 1
SEED ?= $(shell echo $$RANDOM)
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# bytecode is kept: without it each worker compiles all tests, 7 s of processor time, and each process the package, 0.2 s
unexport PYTHONDONTWRITEBYTECODE

LOCKS := $(wildcard deploy/requirements*.txt)
# which releases `make test` runs on: everything (as locked), or newest (`make latest`)
PACKAGES ?= everything

.PHONY: help install servers demo check lint fmt types layers unit integration faults e2e test docs reference compat soak audit lock latest \
  mutants clean
help:
	@grep -E '^[a-z0-9 -]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 24

$(DEMO_STAMP): pyproject.toml deploy/install.sh $(LOCKS)
	@echo "installing the daemon into $(VENV); the first time this takes a minute"
	@PYTHON=$(PYTHON) bash deploy/install.sh $(VENV) daemon
	@touch $@
$(STAMP): pyproject.toml deploy/install.sh $(LOCKS)
	@echo "installing the daemon and the development tools into $(VENV); the first time this takes a few minutes"
	@PYTHON=$(PYTHON) bash deploy/install.sh $(VENV) $(PACKAGES)
	@touch $@ $(DEMO_STAMP)
install: $(STAMP) ## the package and its development tools, in .venv
servers: ## etcd, Prometheus and PostgreSQL from Debian, if they are not here yet
	@bash deploy/servers.sh

demo: $(DEMO_STAMP) ## watch a bad canary being caught
	$(BIN)/killswitch demo --speed 10
test: $(STAMP) servers lint types layers ## everything
	$(BIN)/pytest -n $(WORKERS) --dist worksteal tests
check: $(STAMP) lint types layers unit ## the fast loop
lint: $(STAMP) ## ruff: mistakes and format
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
fmt: $(STAMP) ## format, and fix what ruff can fix
	$(BIN)/ruff check --fix-only -q . ; $(BIN)/ruff format -q .
types: $(STAMP) ## mypy --strict
	$(BIN)/mypy
layers: $(STAMP) ## imports run one way
	$(BIN)/lint-imports
unit: $(STAMP) ## the fast tests
	@# one worker a core, because no test here waits; each has whole files, and fewer examples are drawn than in `test`
	$(BIN)/pytest -q -n auto --dist worksteal --hypothesis-profile fast-loop -m "not slow and not simulation" tests/unit
integration faults e2e: $(STAMP) servers ## the tests of that folder
	$(BIN)/pytest -n $(WORKERS) tests/$@
docs: $(STAMP) ## the site of the documents, in build/site; a link that leads nowhere fails
	$(BIN)/python -m docs.tools.site build/site-source
	$(BIN)/mkdocs build --strict --quiet
	@echo "open build/site/index.html"
reference: $(STAMP) ## write what is generated again: reference pages, schemas, the drawing of the rooms
	$(BIN)/python -m killswitch.rules.reference
	$(BIN)/python -m killswitch.pages.receivers.webhook_schema
	$(BIN)/python -m docs.tools.reference
	$(BIN)/python -m docs.tools.rooms
	$(BIN)/python -m docs.tools.grafana
compat: $(STAMP) servers ## the tests of other LiteLLM releases, then Kubernetes, and the integration tests against etcd 3.5, 3.6, Prometheus 3 (needs Go)
	bash compat/run.sh $(VENV)
soak: $(STAMP) servers ## faults at random: make soak SEED=7 MINUTES=60, then the full counts of the fault tests
	bash tests/soak/run.sh $(VENV) $(SEED) $(MINUTES)
audit: ## the locked packages: pinned, hashed, no known vulnerability (or what could not be asked)
	PYTHON=$(PYTHON) bash deploy/audit.sh
lock: ## write every lock file again (UPGRADE=1: with the newest releases that pyproject.toml allows)
	PYTHON=$(PYTHON) bash deploy/lock.sh $(if $(UPGRADE),--upgrade)
latest: ## everything, with the newest release of every package in .venv-latest, whatever the bounds say
	rm -rf .venv-latest
	$(MAKE) test VENV=.venv-latest PACKAGES=newest
	@.venv-latest/bin/python -m pip list --format freeze | grep -iE '^(litellm|openai|fastapi|starlette|pydantic|numpy|prometheus[-_]client|etcd3gw|openfeature-sdk|opentelemetry-sdk)='
$(MUTANTS)/.installed: pyproject.toml deploy/install.sh deploy/requirements-mutants.txt
	@PYTHON=$(PYTHON) bash deploy/install.sh $(MUTANTS) mutants
	@touch $@
mutants: $(MUTANTS)/.installed ## mutation testing, by hand: make mutants MODULE=killswitch.trips.pending (without MODULE: hours)
	PATH="$(CURDIR)/$(MUTANTS)/bin:$$PATH" mutmut run --max-children $(CHILDREN) $(if $(MODULE),'$(MODULE).*')
	@$(MUTANTS)/bin/mutmut results
clean: ## remove .venv and the tools' caches
	rm -rf $(VENV) .venv-latest $(MUTANTS) mutants build .mypy_cache .ruff_cache .pytest_cache
