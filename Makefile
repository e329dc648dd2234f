# The commands of a clone: `make help` lists them. Each environment is complete only when its stamp exists.

# Of the environments; 3.11 to 3.13. `make demo PYTHON=python3.11` where python3 is another.
PYTHON ?= python3

VENV := .venv
PADDLE26 := .venv-paddle26
SITE := .venv-docs
# Paddle 2.6 has no wheel for Python 3.13: only there is its environment left out.
PADDLE26_HERE = $(if $(shell $(PYTHON) -c 'import sys; sys.version_info < (3, 13) or print("none")' 2>/dev/null),,$(PADDLE26)/.installed)
LOCKS := ops/locks
# One lock for Python 3.11 to 3.13. The GPU image has one Python; its glibc is the oldest that its wheels run on.
LOCK = $(VENV)/bin/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header --no-annotate
EVERY_PYTHON := --universal
GPU_IMAGE := --python-platform x86_64-manylinux_2_28

# Much of a test's time is waiting, so three files run side by side, each on servers of its own.
# In their order, faults first: the longest file must not be the last.
SIDE_BY_SIDE := -n 3 --dist loadfile --no-loadscope-reorder

# Half of the system tests' time is the container engine's, which one file alone uses: the others run beside it.
ENGINE_BESIDE := -n 2 --dist loadfile --no-loadscope-reorder

# What the system tests need of Debian.
SYSTEM_PACKAGES := ca-certificates chromium-headless-shell debootstrap docker.io iptables kcat postgresql prometheus redis-server

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo docs test test-system bench faults lock

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.installed  ## Train, start everything, recommend and stream; ARGS='--data DIR' for your own data
	@$(VENV)/bin/marquee demo $(ARGS)

docs: $(SITE)/.locked  ## Serve the documentation at http://127.0.0.1:8000
	$(SITE)/bin/mkdocs serve

test: $(VENV)/.installed $(PADDLE26_HERE) $(SITE)/.locked  ## Lint, types, import layers, unit, integration and fault tests; no root needed
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(SITE)/bin/mkdocs build --quiet --strict
	$(VENV)/bin/python -m pytest --ignore tests/system $(SIDE_BY_SIDE)
	$(if $(PADDLE26_HERE),$(PADDLE26)/bin/python -m pytest --ignore tests/system -m paddle $(SIDE_BY_SIDE),\
		@echo "Paddle 2.6 has no wheel for Python 3.13: its run is left out, PYTHON=python3.12 has one")

test-system: $(VENV)/.installed  ## Containers, kcat, Prometheus, Chromium: tests that need Debian, as root; installs its packages
	@command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] || \
		{ echo "make test-system installs Debian's packages: run it on Debian, as root" >&2; exit 2; }
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(SYSTEM_PACKAGES) >/dev/null
	$(VENV)/bin/python -m pytest tests/system $(ENGINE_BESIDE)

bench: $(VENV)/.installed  ## Speed beside limits and other systems; make -s bench ARGS='--quick --json' prints JSON alone
	@$(VENV)/bin/python -m tests.bench $(ARGS)

faults: $(VENV)/.installed  ## Exactly once under faults; ARGS='--list', ARGS='--scenario kill9 --scale full'
	@$(VENV)/bin/python -m tests.faults $(ARGS)

# Paddle 2.6 imports setuptools, which Python brings along up to 3.11 alone, and does not ask for it.
lock: $(VENV)/.installed  ## Resolve the dependencies again into ops/locks; versions stay where they still fit
	$(LOCK) $(EVERY_PYTHON) pyproject.toml --extra cpu --extra local --group dev -o $(LOCKS)/dev.txt
	$(LOCK) $(EVERY_PYTHON) pyproject.toml --extra cpu -c $(LOCKS)/dev.txt -o $(LOCKS)/cpu.txt
	printf 'hatchling\n' | $(LOCK) $(EVERY_PYTHON) - -c $(LOCKS)/dev.txt -o $(LOCKS)/build.txt
	$(LOCK) $(GPU_IMAGE) pyproject.toml --extra gpu -o $(LOCKS)/gpu.txt
	printf "paddlepaddle==2.6.2; python_version < '3.13'\nsetuptools; python_version == '3.12'\n" | \
		$(LOCK) $(EVERY_PYTHON) pyproject.toml - --extra local --group dev -o $(LOCKS)/paddle26.txt
	printf 'mkdocs-material\n' | $(LOCK) $(EVERY_PYTHON) - -o $(LOCKS)/docs.txt

# The package itself is linked, not copied, so this runs again only when its metadata changes.
$(VENV)/.installed $(PADDLE26)/.installed: %/.installed: %/.locked pyproject.toml
	@$*/bin/python -m pip install --quiet --no-deps --no-build-isolation -e . >&2
	@touch $@

$(VENV)/.locked: $(LOCKS)/dev.txt
$(PADDLE26)/.locked: $(LOCKS)/paddle26.txt
$(SITE)/.locked: $(LOCKS)/docs.txt

# Always from nothing: what an interrupted set-up left behind looks installed to pip, and is not.
# All output goes to stderr, because stdout is the command's that needed the environment.
%/.locked:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || \
		{ echo "Marquee runs on Python 3.11 to 3.13, and $(PYTHON) is none of these: make PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) cannot make environments: install its venv module (Debian: apt-get install python3-venv)" >&2; exit 2; }
	@echo "Setting up $* from $<, once$(if $(filter $(SITE),$*),,: some minutes and about 2 GB)" >&2
	@rm -rf $*
	@$(PYTHON) -m venv $*
	@$*/bin/python -m pip install --require-hashes -r $< >&2
	@touch $@
