# The yardstick: see bench/README.md. Included from the Makefile.
# Each server that is measured beside ours has a Python environment of its own, from a lock of its own.

BENCH_OPTIONS ?=
BENCH_VENVS := bench/.work/venvs
BENCH_SHORT := mlserver kserve
BENCH_FULL := $(BENCH_SHORT) bentoml litserve mlflow ray
bench_stamps = $(foreach name,$(1),$(BENCH_VENVS)/$(name)/.installed)

.PHONY: bench bench-full bench-venvs bench-venvs-full bench-lock

bench: $(STAMP) examples/iris/model.joblib bench-venvs ## ours beside the floor, MLServer and KServe: 6 minutes once what they need is installed
	$(BIN)/python -m bench.suite short $(BENCH_OPTIONS)

bench-full: $(STAMP) examples/iris/model.joblib bench-venvs-full ## every case, also beside BentoML, LitServe, MLflow and Ray Serve: 30 minutes
	$(BIN)/python -m bench.suite full $(BENCH_OPTIONS)

bench-venvs: $(call bench_stamps,$(BENCH_SHORT))

bench-venvs-full: $(call bench_stamps,$(BENCH_FULL))

# `-` : one that cannot be installed here is left out, and the results say so.
$(BENCH_VENVS)/%/.installed: bench/requirements/%.txt | $(STAMP)
	-$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(BENCH_VENVS)/$* \
	  && $(BIN)/uv pip install --quiet --python $(BENCH_VENVS)/$*/bin/python --require-hashes --compile-bytecode -r $< \
	  && touch $@

bench-lock: $(STAMP) ## renew bench/requirements/*.txt
	for name in $(BENCH_FULL); do $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --universal \
	  --python-version 3.11 --upgrade bench/requirements/$$name.in -o bench/requirements/$$name.txt || exit 1; done
