# What one does with a checkout. Everything happens in .venv and out/, which git ignores.

PYTHON ?= $(shell python3.11 -c 'import sys; print(sys.executable)' 2>/dev/null || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

SENTENCE := The plot was thin, but the acting was superb.
STUDIES := hatexplain toxic-spans amharic movies newsgroups
IMAGE_STUDIES := fmnist-scenes fmnist-scenes-mae flowers-pets
BENCHES := budget scaling llama memory

# One thread: the sums of every run then come in the same order, and small machines finish sooner.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
# Tests start many processes: what one has compiled, the others need not.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-wide check bench setup picture gallery tables measure changelog clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## explain a sentence and a picture with the bundled models: summary, page, picture, data
	@mkdir -p out
	$(BIN)/lignite flow "$(SENTENCE)" --detail heads --quiet -o out/flow.html -o out/flow.png -o out/flow.nc
	$(BIN)/lignite explain --model tiny-digits --quiet -o out/digit.html -o out/digit.png -o out/digit.nc
	$(BIN)/lignite explain "$(SENTENCE)" -o out/explain.html -o out/explain.png -o out/explain.nc
	@echo
	@echo "More: out/flow.html (inside the layers) and out/digit.html (a picture); .png are pictures, .nc the numbers."
	@echo "Open this in a browser: out/explain.html"

test: $(READY) ## run the tests (minutes)
	$(BIN)/python -m pytest -q -n 2

# Every call with the axes of its tensors checked takes three times as long, so only tests of tensors are run so.
AXES := tests/attribution tests/blocks tests/methods tests/targets tests/test_truth.py tests/test_vision.py

test-wide: $(READY) ## run the sweeps: every family of transformers, threads, hundreds of runs; then axes of tensors
	$(BIN)/python -m pytest -q -n 2 -m "wide and not cluster" tests
	$(BIN)/python -m pytest -q -m cluster tests/runs tests/examples
	$(BIN)/python -m pytest -q -n 2 --jaxtyping-packages=lignite,beartype.beartype $(AXES)

check: $(READY) ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(READY) ## measure speed and memory, see bench/README.md
	@for what in $(BENCHES); do $(BIN)/python bench/flow.py $$what || exit 1; echo; done
	@for what in captum memory batches; do $(BIN)/python bench/explain.py $$what || exit 1; echo; done
	$(BIN)/python bench/metrics.py

setup: $(READY) ## make or refresh the environment

# Dependency groups need pip 25.1.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("lignite needs Python 3.11 or newer; name one: make PYTHON=…" if sys.version_info < (3, 11) else 0)'
	@echo "Installing lignite and its tools into $(VENV): minutes the first time."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install -qq --constraint constraints.txt --editable . --group dev
	@touch $@

picture: $(READY) ## redraw the pictures of the README
	@mkdir -p out
	$(BIN)/lignite explain "$(SENTENCE)" --quiet -o out/explain.html
	$(BIN)/lignite flow "$(SENTENCE)" --detail heads --quiet -o docs/images/flow.png
	$(BIN)/lignite explain --model tiny-digits --quiet -o docs/images/explain-image.png
	@$(BIN)/python docs/photograph.py out/explain.html docs/images/page.png || echo "(screenshots need playwright and Chromium)"
	@$(BIN)/python docs/dashboard.py || echo "(the dashboard of the README needs playwright and Chromium)"
	@$(BIN)/python docs/notebook.py || echo "(the notebook of the README needs nbconvert, ipykernel, playwright and Chromium)"

gallery: $(READY) ## draw every view of every kind of result into out/gallery
	$(BIN)/python docs/gallery.py -o out/gallery

tables: $(READY) ## train the study models and measure every method again (hours; needs ../shared)
	$(BIN)/python recipes/data.py
	$(BIN)/python recipes/image_data.py
	@for name in $(STUDIES); do $(BIN)/python recipes/train.py $$name || exit 1; done
	@for name in $(IMAGE_STUDIES); do $(BIN)/python recipes/train_images.py $$name || exit 1; done
	$(BIN)/python recipes/tables.py

measure: $(READY) ## measure the numbers of docs/method.md again
	$(BIN)/python docs/measure.py

changelog: $(READY) ## gather changelog.d under the version of pyproject.toml
	$(BIN)/towncrier build --yes

clean: ## remove the environment and everything made
	rm -rf $(VENV) out dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
