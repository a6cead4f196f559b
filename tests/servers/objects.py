"""An object storage server that a test has started: where it is, what opens it, and how objects get into it."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

BUCKET = "models"  # the one bucket (or container) that every server begins with


@dataclass(frozen=True)
class ObjectServer:
    """A bucket on a real server. Servers are shared by the tests of a session: each test writes under a prefix of its own."""

    scheme: str  # s3, az, gs
    endpoint: str  # http://127.0.0.1:40001
    bucket: str
    options: Mapping[str, str]  # credentials and all, as obstore names them: ready for spec.model.storage.options
    env: Mapping[str, str]  # the same, as environment variables
    refused_options: Mapping[str, str] | None  # to put over `options`: a wrong secret; None where the server lets anybody in
    folder: Path  # what the server keeps its objects in
    log: Path
    upload: Callable[[str, BinaryIO], None]  # by the cloud's own client

    def uri(self, key: str = "") -> str:
        return f"{self.scheme}://{self.bucket}/{key}"

    def put(self, key: str, content: bytes | Path) -> str:
        """Stores bytes, or a file, at `key`; gives its URI."""
        with content.open("rb") if isinstance(content, Path) else io.BytesIO(content) as file:
            self.upload(key, file)
        return self.uri(key)

    def put_folder(self, prefix: str, folder: Path) -> str:
        """Stores every file below `folder` under `prefix`; gives the prefix's URI, which ends in a slash."""
        prefix = prefix.rstrip("/")
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                self.put(f"{prefix}/{file.relative_to(folder).as_posix()}", file)
        return self.uri(f"{prefix}/")
