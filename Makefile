# make demo   a real int8 model that passes, a corrupted one that fails
# make test   every test but the long ones, the real container and the real workflow included
PYTHON ?= python3
VENV ?= .venv
# auto: PyTorch's CPU index where it answers, else pip's own configuration; pip; or an address
TORCH_INDEX_URL ?= auto
# empty: the version that tools/install_torch.py names
TORCH_REQUIREMENT ?=
# Without the 20 packages it asks for: only its compiled interpreter is imported, which needs torch alone
EXECUTORCH := executorch==1.5.1
# For each harness of `make fuzz SECONDS=600`; make and not the shell gives SECONDS
FUZZ_SECONDS := $(if $(filter command line,$(origin SECONDS)),$(SECONDS),60)
FUZZ ?=
# skip: run without the container, loudly (never in CI)
export QGATE_E2E
# No run of a runtime reports to anybody.
export ORT_DISABLE_TELEMETRY := 1

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PINS := requirements/image.txt requirements/dev.txt
WORKFLOWS := action.yml examples/workflow.yml examples/workflow-gpu.yml .github/workflows

.DELETE_ON_ERROR:
.PHONY: help demo test test-unit test-all lint format bench fuzz docs lock image clean

help: ## Says what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.demo ## Verifies a real int8 model that passes and a corrupted one that fails
	@$(BIN)/python examples/demo.py

test: $(VENV)/.test ## Runs the tests, container and workflow included
	$(BIN)/python tools/test.py

test-unit: $(VENV)/.test ## Runs the tests that need no container
	$(BIN)/python tools/test.py --unit

test-all: $(VENV)/.test ## Runs the tests and the long ones too
	$(BIN)/python tools/test.py --all

lint: $(VENV)/.test ## Checks style, types, workflows and the Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/actionlint .github/workflows/*.yml examples/workflow.yml examples/workflow-gpu.yml
	$(BIN)/zizmor --offline --quiet --persona=regular $(WORKFLOWS)
	$(BIN)/hadolint Dockerfile Dockerfile.gpu

format: $(VENV)/.test ## Formats the sources
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

fuzz: $(VENV)/.test ## Fuzzes each parser for SECONDS (60), or those in FUZZ="pickle policy"
	$(BIN)/python -m tests.fuzz.run --seconds $(FUZZ_SECONDS) $(FUZZ)

bench: $(VENV)/.test ## Measures time, memory, start, the image and integrity
	@set -e; for script in $$(grep -l __main__ bench/*.py | grep -v bench/integrity_); do echo "== $$script"; $(BIN)/python "$$script"; done

docs: $(VENV)/.test ## Writes what the documentation takes from the code
	@set -e; for script in tools/docs_*.py; do $(BIN)/python "$$script"; done

lock: $(VENV)/.test ## Resolves requirements/*.txt anew
	$(BIN)/python tools/lock.py

image: ## Builds the container image as qgate:local
	docker build $(QGATE_DOCKER_BUILD_FLAGS) --build-arg TORCH_INDEX_URL=$(TORCH_INDEX_URL) \
	  --build-arg TORCH_REQUIREMENT=$(TORCH_REQUIREMENT) -t qgate:local .

clean: ## Removes what make has made
	rm -rf $(VENV) build dist qgate-demo qgate-report .pytest_cache .mypy_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "qgate needs Python 3.11 or later: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) \
	  || { echo "no virtual environment could be made; on Debian and Ubuntu: apt-get install python3-venv" >&2; \
	       rm -rf $(VENV); exit 1; }

# torch first, from an index of its own, so that the installation after it finds it in place
$(VENV)/.torch: tools/install_torch.py | $(BIN)/python
	$(BIN)/python tools/install_torch.py --index '$(TORCH_INDEX_URL)' --requirement '$(TORCH_REQUIREMENT)'
	@touch $@

$(VENV)/.demo: pyproject.toml $(PINS) $(VENV)/.torch
	$(PIP) --constraint requirements/image.txt --editable '.[torch,hub]'
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	$(PIP) --constraint requirements/image.txt --constraint requirements/dev.txt --editable '.[torch,hub,test,e2e,lint,fuzz]'
	$(PIP) --no-deps '$(EXECUTORCH)'
	@touch $@
