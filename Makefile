# Every target does all of its own set-up: a machine needs Python 3.11 or newer with venv, and make.
#
#   make demo     watch it: a collector, four writers, a sender that is killed half-way, and the count at the end
#   make test     all tests, in parallel, with coverage
#   make syscalls what the kernel is asked for, in which order (needs strace)
#   make soak     writers, sender and operators killed at random, and judged: KILLS=10000, or MINUTES=60
#   make power    power cuts after each operation, by enumeration: IMAGES=100000
#   make model    a whole host in simulated time, whatever happens in whatever order: MINUTES=10
#   make fuzz     hostile lines, segments, checkpoints, answers: INPUTS=1000000
#   make mutants  each rule removed once, and the test that must notice (docs/reliability.md)
#   make bench    what kmq costs, beside what it is compared with: docs/performance.md (20 minutes; a part: BENCH=append)
#   make bench-quick  the same in two minutes, less exactly
#   make lint     ruff: rules and form
#   make types    mypy, strict
#   make check    all of these, and the floor of coverage
#   make clean    remove what the targets above made
#
# Another Python: make test PYTHON=/path/to/python3.12. More workers: make test JOBS=8. One test: make test T=tests/kmq

DEV := .venv
DEMO := .venv-demo
BENCHED := .venv-bench
JOBS ?= 4
T ?=
KILLS ?= 1000
MINUTES ?= $(if $(filter model,$(MAKECMDGOALS)),10,0)
IMAGES ?= 100000
INPUTS ?= 1000000
BENCH ?=

# The first one that is new enough; python3 is tried first, as it is the one most likely to have venv.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
FOUND = $(shell $(or $(PYTHON),python3) --version 2>/dev/null || echo none)
INSTALL = bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test syscalls soak power model fuzz mutants bench bench-quick lint types check coverage clean
.DELETE_ON_ERROR:

demo: $(DEMO)/installed
	@$(DEMO)/bin/kmq-sender demo

# Tests that look at system calls need strace; where it is missing this says so, and make syscalls fails.
test: $(DEV)/installed
	@$(DEV)/bin/coverage erase
	@command -v strace >/dev/null || echo "strace is not installed: left out are the tests that look at system calls"
	$(DEV)/bin/coverage run -m pytest -n $(JOBS) $(shell command -v strace >/dev/null || echo '-m "not strace"') $(T)
	@$(DEV)/bin/coverage combine --quiet; rm -f .coverage.* # what a killed process left half-written is no data

syscalls: $(DEV)/installed
	$(DEV)/bin/python -m pytest -n $(JOBS) -m strace

# What takes minutes, or as long as asked. A bounded run of each is part of make test.
soak: $(DEV)/installed
	$(DEV)/bin/python -m tests.soak --kills $(KILLS) --minutes $(MINUTES)

power: $(DEV)/installed
	$(DEV)/bin/python -m tests.powercut --images $(IMAGES) --jobs $(JOBS)

model: $(DEV)/installed
	$(DEV)/bin/python -m tests.model --examples 20 --steps 100 --minutes $(MINUTES)

fuzz: $(DEV)/installed
	$(DEV)/bin/python -m tests.fuzz --inputs $(INPUTS) --jobs $(JOBS)

mutants: $(DEV)/installed
	$(DEV)/bin/python -m tests.mutants --jobs 2

# It measures with nginx where that is installed, and says so where it is not.
bench: $(BENCHED)/installed
	$(BENCHED)/bin/python -m benchmarks --publish $(BENCH)

bench-quick: $(BENCHED)/installed
	$(BENCHED)/bin/python -m benchmarks --scale quick $(BENCH)

lint: $(DEV)/installed
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .

types: $(DEV)/installed
	$(DEV)/bin/mypy

check: lint types test coverage

coverage: test
	$(DEV)/bin/coverage report

clean:
	rm -rf $(DEV) $(DEMO) $(BENCHED) .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist

# The tools, and kmq as it stands in this tree.
$(DEV)/installed: pyproject.toml constraints.txt
	@$(call make_venv,$(DEV))
	$(DEV)/$(INSTALL) --editable '.[all,dev]'
	@touch $@

# kmq as its users install it, and no tools: half a minute is for the demo.
$(DEMO)/installed: pyproject.toml constraints.txt $(shell find kmq sender systemd -type f ! -path '*/__pycache__/*')
	@$(call make_venv,$(DEMO))
	$(DEMO)/$(INSTALL) --no-compile '.[web]'
	@touch $@

# What kmq is compared with is none of its tools. A peer that cannot be installed is a row that says so, so that the others
# are tried one by one where all of them at once cannot be had.
PEERS = benchmarks/requirements.txt
$(BENCHED)/installed: pyproject.toml constraints.txt $(PEERS)
	@$(call make_venv,$(BENCHED))
	$(BENCHED)/$(INSTALL) --editable '.[all]' trustme
	@$(BENCHED)/bin/pip install --quiet --disable-pip-version-check -r $(PEERS) || \
	grep -v '^#' $(PEERS) | while read -r peer; do \
	$(BENCHED)/bin/pip install --quiet --disable-pip-version-check "$$peer" || echo "left out: $$peer"; done
	@touch $@

define make_venv
if ! $(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
echo "kmq needs Python 3.11 or newer; $(or $(PYTHON),python3) here is: $(FOUND)." \
	"Name another one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; fi; \
rm -rf $(1); $(PYTHON) -m venv $(1)
endef
