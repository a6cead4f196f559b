"""memcached: values by key, asked for on the event loop, and given up on in time.

The client library (emcache) is imported, and connections are made, when first asked. It waits ever longer between its attempts to reach a
server that is down, up to a minute: here a new client takes its place, so that a server that is back is used a second later.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from dragoman.errors import MissingLibrary, StoreUnavailable

if TYPE_CHECKING:
    from emcache import Client

_Answer = TypeVar("_Answer")

PORT = 11211  # memcached's own
MAX_KEY_BYTES = 250
_CONNECTIONS = 4  # to each server; more requests than that at once wait for one another
_RETRY_SECONDS = 1.0

logger = logging.getLogger("dragoman.memcached")


def address_of(server: str) -> tuple[str, int]:
    """Host and port of `memcached:11211`, `memcached` or `[::1]:11211`. `ValueError` where it is none of these."""
    host, colon, port = server.rpartition(":") if not server.endswith("]") and server.count(":") else (server, "", "")
    host = host.removeprefix("[").removesuffix("]")
    number = int(port) if port.isdecimal() else PORT if not colon else 0
    if not host or any(c.isspace() or c in "/@[]" for c in host) or not 0 < number < 65536:
        raise ValueError(f"must be host:port, such as memcached:{PORT}, got {server!r}")
    return host, number


def is_key(text: str) -> bool:
    """Whether memcached takes it: 1 to 250 bytes without spaces and control characters."""
    key = text.encode("utf-8", "surrogatepass")
    return 0 < len(key) <= MAX_KEY_BYTES and all(byte > 32 and byte != 127 for byte in key)


class Memcached:
    """Every key is asked of every server, and written to every one: who else uses them may share keys out by another rule than ours.

    Used on one event loop. Every answer, and every failure (`StoreUnavailable`), comes within `timeout_seconds`.
    """

    def __init__(self, servers: Sequence[str], timeout_seconds: float) -> None:
        """`servers` as `address_of` takes them. `MissingLibrary` where the client library is not installed."""
        if importlib.util.find_spec("emcache") is None:
            raise MissingLibrary("memcached needs the package emcache: pip install 'dragoman[memcached]'")
        self._links = [_Link(*address_of(server), timeout_seconds) for server in servers]

    async def get(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The values that are there; of a key that several servers have, the first one's."""
        names = [key.encode() for key in keys]
        if not names:
            return {}
        answers = await asyncio.gather(*(link.ask(lambda client: client.get_many(names)) for link in self._links))
        return {key.decode(): item.value for found in reversed(answers) for key, item in found.items()}

    async def set(self, key: str, value: bytes, keep_seconds: float) -> None:
        """Keeps the value for so long, to the second, and no shorter."""
        name, seconds = key.encode(), max(1, int(-(-keep_seconds // 1)))
        await asyncio.gather(*(link.ask(lambda client: client.set(name, value, exptime=seconds)) for link in self._links))

    async def close(self) -> None:
        """Ends the connections; the next call makes new ones."""
        for link in self._links:
            await link.close()


@cache
def memcached_at(servers: tuple[str, ...], timeout_seconds: float) -> Memcached:
    """The one of this process that asks these servers, however often paths are built anew."""
    return Memcached(servers, timeout_seconds)


class _Link:
    """To one server."""

    def __init__(self, host: str, port: int, timeout_seconds: float) -> None:
        self._host, self._port, self._seconds = host, port, timeout_seconds
        self._client: Client | None = None
        self._since = 0.0  # when the client was made, in the loop's time
        self._closing: set[asyncio.Task[None]] = set()
        self._down = False  # since the last answer, and the log has said so

    async def ask(self, question: Callable[[Client], Awaitable[_Answer]]) -> _Answer:
        where = f"memcached at {self._host}:{self._port}"
        try:
            async with asyncio.timeout(self._seconds):
                answer = await question(await self._connected())
        except TimeoutError:
            why = "did not answer" if self._is_connected() else "could not be reached"
            self._give_up()
            if not self._down:
                logger.warning("%s %s within %g s; what needs it is answered with 503 until it is back", where, why, self._seconds)
            self._down = True
            raise StoreUnavailable(f"{where} {why} within {self._seconds:g} s") from None
        except _failures() as error:
            raise StoreUnavailable(f"{where} failed: {' '.join(str(error).split()) or type(error).__name__}") from error
        if self._down:
            logger.info("%s answers again", where)
        self._down = False
        return answer

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _connected(self) -> Client:
        if self._client is None:
            import emcache

            self._since = asyncio.get_running_loop().time()
            self._client = await emcache.create_client(
                [emcache.MemcachedHostAddress(self._host, self._port)],
                timeout=None,  # the whole question has one
                connection_timeout=self._seconds,
                max_connections=_CONNECTIONS,
                min_connections=1,
                purge_unused_connections_after=None,
            )
        assert self._client is not None
        return self._client

    def _give_up(self) -> None:
        """A client that has no connection is replaced at the next question: it would wait long before it tried again."""
        client, loop = self._client, asyncio.get_running_loop()
        if client is None or loop.time() - self._since < _RETRY_SECONDS:
            return
        if self._is_connected():
            return
        self._client = None
        closing = loop.create_task(client.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _is_connected(self) -> bool:
        metrics = self._client.cluster_managment().connection_pool_metrics() if self._client is not None else {}
        return any(pool.cur_connections for pool in metrics.values())


def _failures() -> tuple[type[Exception], ...]:
    """What a server's answer, or a broken connection, is told by."""
    from emcache import CommandError

    return (OSError, CommandError)
