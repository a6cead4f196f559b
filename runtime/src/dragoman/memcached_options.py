"""Where a memcached is, as the options of dialects say it."""

from __future__ import annotations

from collections.abc import Iterator

from dragoman.memcached import address_of
from dragoman.part import Part


class Memcached(Part, frozen=True):
    """Servers that are asked together: whoever filled or fills them may share keys out by a rule of its own."""

    servers: tuple[str, ...]  # host:port; every key is asked of, or kept on, every server
    timeout_seconds: float = 0.5

    def problems(self) -> Iterator[str]:
        if not 1 <= len(self.servers) <= 16:
            yield f"servers: must be 1 to 16 addresses, such as memcached:11211, got {len(self.servers)}"
        for i, server in enumerate(self.servers):
            try:
                address_of(server)
            except ValueError as error:
                yield f"servers[{i}]: {error}"
        if not 0 < self.timeout_seconds <= 60:
            yield f"timeoutSeconds: must be greater than 0 and at most 60, got {self.timeout_seconds:g}"
