# The gRPC messages, from their .proto files. Included from the Makefile; alone: make -f mk/proto.mk proto
# What it makes is checked in; tests hold it equal to what the .proto files say.

PROTO_BIN ?= .venv/bin
PROTO_DIR := runtime/src/dragoman/proto
PROTOS := open_inference seldon health reflection

.PHONY: proto $(PROTOS)

proto: $(PROTOS) ## Make the gRPC messages anew after a change in runtime/src/dragoman/proto/*.proto

$(PROTOS):
	$(PROTO_BIN)/python -m grpc_tools.protoc -I $(PROTO_DIR) --descriptor_set_out=$(PROTO_DIR)/$@.binpb \
	  --pyi_out=$(PROTO_DIR) $(PROTO_DIR)/$@.proto
	{ echo '# Made by `make proto` from $@.proto.'; echo '# ruff: noqa'; echo '# mypy: disable-error-code="type-arg"'; \
	  cat $(PROTO_DIR)/$@_pb2.pyi; } > $(PROTO_DIR)/$@.pyi
	rm $(PROTO_DIR)/$@_pb2.pyi
	$(PROTO_BIN)/ruff format --quiet $(PROTO_DIR)/$@.pyi
