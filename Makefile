# Two words for newcomers: `make demo` and `make test`. Both prepare the machine by themselves.
.DEFAULT_GOAL := help
.PHONY: help setup setup-test demo test lint fmt test-unit test-netns test-vm test-cluster bench pins clean

# system programs, which an ordinary user's PATH leaves out
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

PYTEST := .venv/bin/pytest -q
# tests that change kernel state run in namespaces of their own, as root and as an ordinary user alike
ROOMS := unshare $(if $(filter 0,$(shell id -u)),,--map-root-user --user) --mount --net --

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

setup:
	@tools/setup.sh run

setup-test:
	@tools/setup.sh test

demo: setup ## a three-node cluster with examples/shop, checked from every pod to every pod
	@.venv/bin/netloom demo

test: setup-test lint test-unit test-netns test-vm test-cluster ## everything, from lint to whole clusters

lint: setup-test ## format, lint, types, architecture
	@.venv/bin/ruff format --check -q . && .venv/bin/ruff check -q . && .venv/bin/mypy --no-error-summary
	@found=$$(.venv/bin/lint-imports --no-logo) || { echo "$$found"; exit 1; }

fmt: setup-test ## write the format
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .

test-unit: setup-test ## pure logic, about a minute
	@$(PYTEST) -n 2 -m "not netns and not cluster and not vm" tests

test-netns: setup-test ## real packets in namespaces that the tests make
	@$(ROOMS) $(PYTEST) -n 2 -m netns tests

test-vm: setup-test ## drivers that this kernel may lack, in a small VM with Debian's
	@.venv/bin/python tools/test_vm.py

test-cluster: setup-test ## whole clusters, through kubectl and the command
	@$(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder --durations=15 -m cluster tests

bench: setup-test ## figures as ratios within one run, beside the limits of the field
	@.venv/bin/python -m tests.bench

PINS := .venv/bin/uv pip compile -q --universal --generate-hashes --native-tls --no-header --no-annotate pyproject.toml --group build

pins: setup-test ## write requirements/ after a change of dependencies; newer versions with UPGRADE=--upgrade
	@$(PINS) --group dev $(UPGRADE) -o requirements/test.txt
	@$(PINS) -c requirements/test.txt $(UPGRADE) -o requirements/run.txt

clean: ## remove what was built here
	@rm -rf build dist .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
