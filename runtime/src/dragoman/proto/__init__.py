"""Messages of the gRPC protocols that are spoken, each described by a .proto file."""
