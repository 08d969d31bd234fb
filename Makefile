# make demo    set up .venv where needed, restore the shipped sample, write the pictures to out/demo
# make test    set up .venv where needed, run every test        (make test ARGS="tests/test_images.py -x")
# make check   format, lint and types, as .ci/run does
# make clean   remove .venv and what the demo wrote
#
# The first run installs with pip; every later run, and the demo itself, needs no network.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
OUT ?= out/demo
ARGS ?=

# Nothing of ours asks the Hugging Face hub for anything; this makes sure that no library does it for us.
export HF_HUB_OFFLINE := 1

.PHONY: install demo test check format clean

install: $(STAMP)

# The stamp is touched last, so an installation that broke off is taken up again by the next run.
$(STAMP): requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "IDFSR needs Python 3.10 or newer; name one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@test -x $(PY) && $(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) \
		|| { echo "python3 -m venv failed; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(PY) -m pip install --disable-pip-version-check --no-input --no-compile -r requirements-dev.txt
	@touch $@

demo: install
	$(PY) -m idfsr_core demo --output $(OUT)

# One thread: the tests' tensors are small, and threads that wait for each other on a busy machine cost minutes.
test: export OMP_NUM_THREADS := 1
test: install
	$(PY) -m pytest $(ARGS)

check: install
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m pyright

format: install
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

clean:
	rm -rf $(VENV) $(OUT)
