# What the tests need beyond Python's packages: see tools/README.md. Included from the Makefile; alone: make -f mk/tools.mk tools
# Everything goes into .cache/tools; a stamp there is renewed only when a pin changes.

TOOLS_PYTHON ?= python3
TOOLS_UV ?= .venv/bin/uv

.PHONY: tools tools-apt tools-lock

tools: .cache/tools/go.stamp .cache/tools/node.stamp tools-apt ## Build or install the servers that tests talk to

.cache/tools/go.stamp: tools/go/go.mod tools/go/go.sum
	$(TOOLS_PYTHON) tools/install.py go

.cache/tools/node.stamp: tools/node/package.json tools/node/package-lock.json
	$(TOOLS_PYTHON) tools/install.py node

# As root with CI=true or DRAGOMAN_APT=1: installs what is missing. Else: says what is missing, and goes on.
tools-apt:
	@$(TOOLS_PYTHON) tools/install.py apt

tools-lock: ## Renew the locks of tools/ after a version in go.mod, package.json or a toolchain.in was changed
	cd tools/go && go mod tidy
	cd tools/node && npm install --package-lock-only --ignore-scripts
	for kind in go node; do $(TOOLS_UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links tools/$$kind/toolchain.in -o tools/$$kind/toolchain.txt || exit 1; done
