# A real Kubernetes for the tests: see docs/testing-cluster.md. Included from the Makefile; alone: make -f mk/cluster.mk cluster-tools

CLUSTER_PYTHON ?= .venv/bin/python
CLUSTER_NAME ?= dev

.PHONY: cluster-tools cluster-tools-lock cluster cluster-down

cluster-tools: ## Build or install what a Kubernetes is made of (about 7 minutes the first time, nothing afterwards)
	@PYTHONPATH=tools python3 tools/cluster/install.py apt kubernetes tools kwok

cluster-tools-lock: ## Renew the locks of tools/cluster after a version in a go.mod was changed
	for module in kubernetes tools kwok; do (cd tools/cluster/$$module && GOTOOLCHAIN=local go mod tidy) || exit 1; done

cluster: ## Start a Kubernetes to play with, and print how to reach it (CLUSTER_NAME=dev)
	@$(CLUSTER_PYTHON) -m tests.cluster up --name $(CLUSTER_NAME)

cluster-down: ## End it
	@$(CLUSTER_PYTHON) -m tests.cluster down --name $(CLUSTER_NAME)
