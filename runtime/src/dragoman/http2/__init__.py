"""HTTP/2 (RFC 9113) as a gRPC server needs it: without TLS, by prior knowledge, requests whose replies end in trailers.

Why it is ours, and what it was measured against: docs/decisions/2026-11-22-grpc-server.md.
"""
