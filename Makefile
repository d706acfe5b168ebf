# make run    create the environment, upsample the sample photograph, write pictures and numbers to out/; replaces what
#             it wrote there before, and no other file
# make demo   create the environment, serve the demo at http://127.0.0.1:8000
# make docs   create the environment, build the site of the documents to out/site
# make test   create the environment, run every check and test; before a release, make test-release
# make notebooks  create the environment, run the notebooks from beginning to end; make test-release does that, too
# make package  create the environment, build the wheel and the source distribution to dist/, and check them
#
# All need Python 3.10 to 3.13 and make. Another interpreter: make run PYTHON=python3.12

PYTHON ?= python3
BIN := $(if $(filter Windows_NT,$(OS)),.venv/Scripts,.venv/bin)

# Tests start Python many times, and without bytecode each of these processes compiles PyTorch's sources.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup run demo docs browser test tests test-release test-lowest notebooks fuzz lint benchmarks bench package space constraints clean

# The versions in constraints.txt make every installation the same. uv downloads in parallel; it is told to trust the
# certificates that the system trusts, as pip does, for those who sit behind a proxy.
INSTALL = $(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python \
	--constraint constraints.txt --build-constraint constraints.txt

setup: .venv/ready

.venv/ready: .venv/core benchmarks/pyproject.toml
	@$(INSTALL) --editable ".[all,dev]" --editable ./benchmarks
	@touch $@

# uv is installed by the pip of the Python that is there, as another takes seconds to install; where there is none, or
# one before 22.3, by the environment's own.
INSTALL_UV = install --quiet --disable-pip-version-check "$$(grep '^uv==' constraints.txt)"

# The package alone, which is all that the first picture needs.
.venv/core: pyproject.toml constraints.txt
	@echo "Creating the environment in .venv (the first time this downloads PyTorch: minutes) ..."
	@$(PYTHON) -m venv --without-pip .venv
	@$(PYTHON) -m pip --python $(BIN)/python $(INSTALL_UV) 2>/dev/null || \
		{ $(PYTHON) -m venv .venv && $(BIN)/python -m pip $(INSTALL_UV); }
	@$(INSTALL) --editable .
	@touch $@

run: .venv/core
	@$(BIN)/omniup reconstruct sample:coffee --output out

demo: setup
	@$(BIN)/omniup serve

# Broken links and pages that the menu lacks end it. The first line of the site's theme is about its own future.
docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.venv/docs: .venv/ready
	@$(INSTALL) --editable ".[docs]"
	@touch $@

# The page is tested in a real browser: Chromium or Chrome of the system, or, without one, the one that this downloads.
browser: setup
	$(BIN)/playwright install chromium

test: setup
	@$(MAKE) --no-print-directory --jobs 2 lint tests

# A worker on each core, up to four. By hand, .venv/bin/pytest FILE runs in one process.
tests: setup
	$(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist worksteal $(PYTEST_OPTIONS)

# The same, but each property with 500 examples, which are others every time, and more kills and requests at once; and
# the notebooks.
test-release: notebooks
	@$(MAKE) --no-print-directory test PYTEST_OPTIONS="--hypothesis-profile thorough"

# The core with the oldest versions that pyproject.toml allows: about ten minutes. What needs an extra is skipped.
LOWEST := .venv/lowest/$(notdir $(BIN))/python
test-lowest: setup
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv/lowest
	$(BIN)/uv pip install --quiet --system-certs --python $(LOWEST) --resolution lowest-direct \
		--editable . "pytest==8.3.0" "hypothesis==6.100.0" "pytest-xdist==3.6.0"
	$(LOWEST) -m pytest --numprocesses logical --maxprocesses 4 -o addopts="--import-mode=importlib" -o filterwarnings= \
		tests/mixing tests/files tests/upsamplers tests/test_nn.py tests/test_inputs.py tests/test_package.py

# What they show is written to out/notebooks; the notebooks themselves are kept without outputs.
notebooks: setup
	$(BIN)/python tools/run_notebooks.py

# Corrupted files, 5,000 or COUNT, to every reader and the server: minutes. make test tries some 200 of them.
COUNT ?= 5000
fuzz: setup
	OMNIUP_FUZZ=$(COUNT) $(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist worksteal -rfEP tests/fuzzing

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

benchmarks: setup
	$(BIN)/python benchmarks/run_all.py

# Refresh docs/benchmarks.md from the data sets in DATA, a folder that docs/benchmarking.md describes: hours, on a machine
# that does nothing else. What is in out/bench.jsonl is not measured again.
bench: setup
	@mkdir -p out
	$(BIN)/omniup bench quality --data "$(DATA)" -o out/bench.jsonl
	$(BIN)/omniup bench speed -o out/bench.jsonl
	$(BIN)/omniup bench report out/bench.jsonl -o docs/benchmarks.md

# For an index, OMNIUP_REPOSITORY is the repository's address: the README's pictures and links are then whole addresses.
package: setup
	rm -rf dist
	$(BIN)/hatchling build -d dist
	$(BIN)/twine check --strict dist/*

# Lay out the folder that a Hugging Face Space of the SDK docker takes, out/space: the image's sources as committed.
space:
	rm -rf out/space
	mkdir -p out/space
	git archive HEAD Dockerfile .dockerignore constraints.txt pyproject.toml README.en.md LICENSE tools/package_metadata.py src \
		| tar -x -C out/space
	cp integrations/space/README.md out/space/README.md
	cat integrations/space/Dockerfile >> out/space/Dockerfile

# Take in newer versions: rewrites constraints.txt for all supported Pythons.
constraints: setup
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.10 --upgrade \
		--no-header --no-annotate --no-emit-index-url --output-file constraints.txt

clean:
	rm -rf .venv out dist
