# The images, with docker or buildah, whichever is there: see docs/images.md. Included from the Makefile; alone: make -f mk/image.mk image

IMAGE_PYTHON ?= $(or $(PYTHON),python3)
IMAGE_REGISTRY ?= localhost
IMAGE_TAG ?=
IMAGE_BASE ?=
IMAGE_PIP_OPTIONS ?=
IMAGE_WHEELS ?=
image_options = --registry '$(IMAGE_REGISTRY)' --tag '$(IMAGE_TAG)' $(if $(IMAGE_BASE),--base '$(IMAGE_BASE)') \
  --pip-options='$(IMAGE_PIP_OPTIONS)' $(if $(IMAGE_WHEELS),--wheels '$(IMAGE_WHEELS)')

.PHONY: image image-runtime image-operator

image: ## build both images (IMAGE_REGISTRY=localhost IMAGE_TAG=the version IMAGE_BASE=python:3.11-slim-bookworm)
	nice $(IMAGE_PYTHON) tools/image.py $(image_options) runtime operator

image-runtime: ## build the runtime's image
	nice $(IMAGE_PYTHON) tools/image.py $(image_options) runtime

image-operator: ## build the operator's image
	nice $(IMAGE_PYTHON) tools/image.py $(image_options) operator
