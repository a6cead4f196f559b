"""Settings of a server process: what belongs to the place where it runs, not to a model."""

from __future__ import annotations

from typing import Literal

import msgspec

from dragoman.logs import LogFormat

CodeFormats = Literal["Allow", "RequireDigest", "Deny"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    host: str = "127.0.0.1"
    port: int = 8080  # REST; 0: any free one
    grpc_port: int = 9000
    management_port: int = 9090
    workers: int = 1
    code_formats: CodeFormats = "Allow"  # whether formats that run code when loaded are served
    cache_dir: str | None = None
    cache_bytes: int | None = None
    cache_size: int | None = None  # models that each worker has in memory, brought when a request comes; None: all, from the start
    drain_seconds: float = 1.0  # after SIGTERM: how long new connections are still taken
    termination_log: str | None = None  # where the reason for ending is written, as JSON
    revision: str = ""
    log_format: LogFormat = "json"
    log_level: str = "INFO"
    access_log: bool = False
    head_seconds: float = 20.0  # a request's headers must be whole by then
    keep_alive_seconds: float = 75.0  # idle connections close; longer than the 60 s of usual load balancers, so that they close first
    fork: bool = True  # False: each worker starts afresh and loads for itself (macOS)
