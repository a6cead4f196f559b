# The gRPC messages, from their .proto file. Included from the Makefile; alone: make -f mk/proto.mk proto
# What it makes is checked in; a test holds it equal to what the .proto file says.

PROTO_BIN ?= .venv/bin
PROTO_DIR := runtime/src/dragoman/proto

.PHONY: proto

proto: ## Make the gRPC messages anew after a change in runtime/src/dragoman/proto/*.proto
	$(PROTO_BIN)/python -m grpc_tools.protoc -I $(PROTO_DIR) --descriptor_set_out=$(PROTO_DIR)/open_inference.binpb --pyi_out=$(PROTO_DIR) \
	  $(PROTO_DIR)/open_inference.proto
	{ echo '# Made by `make proto` from open_inference.proto.'; echo '# ruff: noqa'; echo '# mypy: disable-error-code="type-arg"'; \
	  cat $(PROTO_DIR)/open_inference_pb2.pyi; } > $(PROTO_DIR)/open_inference.pyi
	rm $(PROTO_DIR)/open_inference_pb2.pyi
	$(PROTO_BIN)/ruff format --quiet $(PROTO_DIR)/open_inference.pyi
