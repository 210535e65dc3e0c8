# Slipway. `make demo` shows it, `make test` proves it; both set everything up by themselves.
# What the targets need lands in .venv and node_modules, nothing outside this directory.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-swap demo-data dev test check static format lint types imports generated bench bench-judge lock conformance real-registry generate docs package clean

PY := .venv/bin/python
CODE := controller sandbox tests bench tools function_app.py
TYPED := controller sandbox function_app.py

help:  ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

setup:  ## Virtual environment, locked dependencies, the sandbox's parts.
	@tools/setup

demo: setup  ## The main job, live: healthy, failing, slow, dead builds; rollback by HTTP.
	@$(PY) -m sandbox.demo

demo-swap: setup  ## Swaps there and back, a swap that breaks half way, an alert that ends a bake.
	@$(PY) -m sandbox.demo swap

demo-data: setup  ## Migrations that go well, are refused, go back; backup, loss, restore, drill.
	@$(PY) -m sandbox.demo data

dev: setup  ## Sandbox and functions stay up; prints the addresses and what to try.
	@$(PY) -m sandbox.dev

test: setup  ## The whole test suite.
	@$(PY) tools/compile.py  # once: else each of the four does it
	@$(PY) -m pytest -n 4 --dist worksteal

check: static test  ## Everything a change must pass.

static: format lint types imports generated  ## All of it that runs nothing.

format: setup
	@$(PY) -m ruff format --check $(CODE)

lint: setup
	@$(PY) -m ruff check $(CODE)

types: setup
	@$(PY) -m mypy $(TYPED) tools/infra_check
	@tools/node node_modules/pyright/index.js $(TYPED)

imports: setup
	@.venv/bin/lint-imports --no-cache

generated: setup  ## Generated pages and lock files equal what they are generated from.
	@$(PY) tools/generate_docs.py --check

generate: setup  ## Write the generated pages.
	@$(PY) tools/generate_docs.py

docs: setup  ## The documentation as a site, in site/; no network.
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict  # --quiet would pass warnings

conformance: setup  ## Microsoft's own Service Bus tests against the sandbox's (minutes).
	@$(PY) -m sandbox.conformance

bench: setup  ## Speed, size and calls per rollout.
	@$(PY) -m bench

bench-judge: setup  ## The judge against the rules in use, over simulated rollouts (20 minutes).
	@$(PY) -m bench.judge --check

real-registry: setup  ## CNCF Distribution's notifications, from the real program (needs apt).
	@$(PY) tools/real_registry.py

package: setup  ## The zip that Azure Functions runs, loaded once with its requirements alone.
	@$(PY) tools/package.py --check

lock: setup  ## Compile the requirements again.
	@tools/lock

clean:  ## Remove what setup made.
	@rm -rf .venv node_modules .sandbox site
