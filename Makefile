# Every target is idempotent, says in one line what it does, and fails with the remedy.
# The work is in tools/installer (Python's standard library alone). Options of `freehold run` go in ARGS:
#   make run ARGS="--port 9000 --no-open"
# PYTHON=/path/to/python chooses the Python that .venv is made with.

ARGS ?=
PYTHON ?=
INSTALL = python="$$(PYTHON='$(PYTHON)' sh tools/find-python.sh)" && exec "$$python" tools/install.py

.DEFAULT_GOAL := help
.PHONY: help run install test check docs pins clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 18

run: ## install, build the app, fetch the default model, start the server and open the app
	@$(INSTALL) run $(ARGS)

install: ## make .venv, install what running needs, and build the app
	@$(INSTALL) install

test: ## install what the tests need and run them all, the slow and the browser's too
	@$(INSTALL) test $(ARGS)

check: ## lint, types and import rules
	@$(INSTALL) check

docs: ## write docs/cli.md from the command line
	@$(INSTALL) docs

pins: ## write constraints.txt anew from what pyproject.toml allows
	@$(INSTALL) pins

clean: ## remove .venv and everything built; pulled models and chats stay
	@$(INSTALL) clean
