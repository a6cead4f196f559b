# A real Kubernetes for the tests: see docs/testing-cluster.md. Included from the Makefile.

CLUSTER_PYTHON ?= .venv/bin/python
CLUSTER_NAME ?= dev

.PHONY: cluster-tools cluster-tools-lock base-image cluster cluster-down test-cluster test-kind

cluster-tools: ## Build or install what a Kubernetes is made of (10 minutes the first time, nothing afterwards)
	@PYTHONPATH=tools $(TOOLS_PYTHON) tools/cluster/install.py apt kubernetes tools kwok metrics

cluster-tools-lock: ## Renew the locks of tools/cluster after a version in a go.mod was changed
	for module in kubernetes tools kwok metrics; do (cd tools/cluster/$$module && GOTOOLCHAIN=local go mod tidy) || exit 1; done

base-image: $(STAMP) cluster-tools ## Debian with its Python as localhost/base:bookworm, for Dockerfiles where no public registry is reached
	@$(CLUSTER_PYTHON) -m tests.cluster base-image

cluster: $(STAMP) tools cluster-tools ## Start a Kubernetes to play with, and print how to reach it (CLUSTER_NAME=dev)
	@$(CLUSTER_PYTHON) -m tests.cluster up --name $(CLUSTER_NAME)

cluster-down: $(STAMP) ## End it
	@$(CLUSTER_PYTHON) -m tests.cluster down --name $(CLUSTER_NAME)

test-cluster: $(STAMP) tools cluster-tools ## On a real Kubernetes
	$(CLUSTER_PYTHON) -m pytest tests/cluster

test-kind: $(STAMP) tools cluster-tools ## The same on kind, where docker and kind work
	DRAGOMAN_TEST_CLUSTER=kind $(CLUSTER_PYTHON) -m pytest tests/cluster
