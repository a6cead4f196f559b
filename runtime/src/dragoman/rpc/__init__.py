"""gRPC over HTTP/2: calls, their status, the methods of the dialects, standard health and reflection."""
