"""The API server: the only module that imports `kubernetes`.

Its ApiClient brings authentication, TLS and token refresh; requests go to its connection pool as they are, with bodies encoded here
(its own (de)serialisation costs ten times as much). A bounded pool of threads makes them; the event loop never waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import kubernetes
import msgspec
import urllib3

from dragoman_operator import __version__
from dragoman_operator.errors import KubeError, Unavailable, kube_error
from dragoman_operator.kinds import Kind
from dragoman_operator.metrics import Metrics
from dragoman_operator.names import FIELD_MANAGER
from dragoman_operator.objects import Object, meta

_TIMEOUT = urllib3.Timeout(connect=5.0, read=10.0)
_URGENT = urllib3.Timeout(connect=3.0, read=4.0)  # of the lease: late is as bad as never
_PAGE = 50  # objects of a list's page
_UNTYPED = "failed to create typed patch object"  # an apply with a value of a wrong type is answered with 500, and cannot ever succeed
_APPLY, _MERGE, _JSON = "application/apply-patch+yaml", "application/merge-patch+json", "application/json"
_ONLY_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class _Version(msgspec.Struct, rename="camel"):
    """Of an object, which version it has."""

    name: str
    uid: str
    resource_version: str
    namespace: str = ""


class _Item(msgspec.Struct):
    metadata: _Version


class _Page(msgspec.Struct, rename="camel"):
    next: str = msgspec.field(name="continue", default="")


class _AnyPage(msgspec.Struct):
    metadata: _Page


class _Versions(msgspec.Struct):
    items: list[_Item] | None = None  # null for none


_page_of = msgspec.json.Decoder(_AnyPage)
_versions_of = msgspec.json.Decoder(_Versions)


class Kube:
    def __init__(self, client: kubernetes.client.ApiClient, connections: int, metrics: Metrics) -> None:
        self._client, self._metrics = client, metrics
        self._host = str(client.configuration.host).rstrip("/")
        self._prefix = urllib3.util.parse_url(self._host).path or ""  # of an API server behind a proxy
        self._pool = self._connect()
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="kube")
        # of its own, so that renewing the lease does not wait behind a thousand writes
        self._lease_thread = ThreadPoolExecutor(1, thread_name_prefix="lease")

    @classmethod
    def connect(cls, connections: int, metrics: Metrics) -> Kube:
        """From inside a pod with its service account, elsewhere with the current kubeconfig."""
        configuration = kubernetes.client.Configuration()
        try:
            kubernetes.config.load_incluster_config(configuration)
        except kubernetes.config.ConfigException:
            kubernetes.config.load_kube_config(client_configuration=configuration)
        configuration.connection_pool_maxsize = connections + 1
        return cls(kubernetes.client.ApiClient(configuration), connections, metrics)

    # --- reading ---

    async def get(self, kind: Kind, namespace: str, name: str, *, urgent: bool = False) -> Object:
        """Raises `NotFound`."""
        return _object(await self._ask("GET", kind.path(namespace, name), urgent=urgent))

    async def list(self, kind: Kind, namespace: str | None, selector: Mapping[str, str]) -> AsyncIterator[Object]:
        """Every object of a kind in a namespace (None: in all), page by page."""
        async for body in self._pages(kind, namespace, selector, _JSON):
            page = _object(body)
            for one in page.get("items") or ():
                yield one
            page.clear()

    async def versions(self, kind: Kind, namespace: str | None, selector: Mapping[str, str]) -> AsyncIterator[tuple[str, str, str, int]]:
        """(namespace, name, uid, resourceVersion) of every object, without their content."""
        async for body in self._pages(kind, namespace, selector, _ONLY_METADATA):
            for item in _versions_of.decode(body).items or ():
                found = item.metadata
                yield found.namespace, found.name, found.uid, int(found.resource_version)

    async def _pages(self, kind: Kind, namespace: str | None, selector: Mapping[str, str], accept: str) -> AsyncIterator[bytes]:
        query = {"limit": str(_PAGE)}
        if selector:
            query["labelSelector"] = ",".join(f"{name}={value}" for name, value in selector.items())
        while True:
            body = await self._read_page(kind.path(namespace), query, accept)
            yield body
            following = _page_of.decode(body).metadata.next
            if not following:
                return
            query["continue"] = following

    async def _read_page(self, path: str, query: Mapping[str, str], accept: str) -> bytes:
        """Tried twice: the first may have gone to a connection that was dead, and then the others wait for it."""
        try:
            return await self._ask("GET", path, query, accept=accept)
        except Unavailable:
            return await self._ask("GET", path, query, accept=accept)

    # --- writing ---

    async def create(self, kind: Kind, body: Object, *, urgent: bool = False) -> Object:
        """Raises `Conflict` when an object of its name is there."""
        path, query = kind.path(meta(body)["namespace"]), {"fieldManager": FIELD_MANAGER}
        return _object(await self._write("POST", kind, path, query, body, _JSON, urgent=urgent))

    async def apply(self, kind: Kind, body: Object, *, force: bool) -> Object:
        """Server-side apply. Without `force`, raises `Conflict` when another manager owns a field with another value."""
        path = kind.path(meta(body)["namespace"], meta(body)["name"])
        query = {"fieldManager": FIELD_MANAGER, "force": "true" if force else "false"}
        return _object(await self._write("PATCH", kind, path, query, body, _APPLY))

    async def replace(self, kind: Kind, body: Object, *, urgent: bool = False) -> Object:
        """Raises `Conflict` when it has changed since it was read: `body` carries its resourceVersion."""
        path = kind.path(meta(body)["namespace"], meta(body)["name"])
        return _object(await self._write("PUT", kind, path, {"fieldManager": FIELD_MANAGER}, body, _JSON, urgent=urgent))

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Only the very object of that uid; raises `NotFound` or `Conflict` when it is not there any more."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        await self._write("DELETE", kind, kind.path(namespace, name), {}, body, _JSON)

    async def patch_status(self, kind: Kind, namespace: str, name: str, patch: Object) -> Object:
        path = kind.path(namespace, name, "status")
        return _object(await self._write("PATCH", kind, path, {"fieldManager": FIELD_MANAGER}, patch, _MERGE))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._lease_thread.shutdown(wait=False, cancel_futures=True)

    # --- requests ---

    async def _write(
        self, method: str, kind: Kind, path: str, query: Mapping[str, str], body: Object, media_type: str, *, urgent: bool = False
    ) -> bytes:
        self._metrics.writes.labels(kind.name, method).inc()
        return await self._ask(method, path, query, msgspec.json.encode(body), media_type, urgent=urgent)

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        media_type: str = _JSON,
        accept: str = _JSON,
        *,
        urgent: bool = False,
    ) -> bytes:
        threads, timeout = (self._lease_thread, _URGENT) if urgent else (self._threads, _TIMEOUT)
        url = f"{self._prefix}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"accept": accept, "content-type": media_type, "user-agent": f"dragoman-operator/{__version__}"}
        return await asyncio.get_running_loop().run_in_executor(threads, self._request, method, url, headers, body, timeout)

    def _request(self, method: str, url: str, headers: dict[str, str], body: bytes | None, timeout: urllib3.Timeout) -> bytes:
        self._client.update_params_for_auth(headers, [], ["BearerToken"])  # a service account's token is read anew when it is due
        try:
            answer = self._pool.urlopen(method, url, body, headers, retries=False, redirect=False, timeout=timeout)
        except urllib3.exceptions.HTTPError as error:
            self._client.rest_client.pool_manager.clear()  # where one connection hangs, the idle ones do too
            self._pool = self._connect()
            raise Unavailable(0, f"the API server does not answer {method} {url}: {error}") from error
        if answer.status >= 400:
            raise _refused(answer.status, answer.data)
        return answer.data

    def _connect(self) -> urllib3.HTTPConnectionPool:
        pool: urllib3.HTTPConnectionPool = self._client.rest_client.pool_manager.connection_from_url(self._host)
        return pool


def _object(body: bytes) -> Object:
    found: Object = msgspec.json.decode(body)
    return found


def _refused(status: int, body: bytes) -> KubeError:
    try:
        message = str(msgspec.json.decode(body)["message"])
    except (msgspec.MsgspecError, KeyError, TypeError):
        message = body[:500].decode(errors="replace")
    if message.startswith(_UNTYPED):
        status = 422
    return kube_error(status, message)


def event(about: Object, kind: Kind, *, warning: bool, reason: str, message: str, now: str, reporter: str) -> Any:
    """A core/v1 Event about an object."""
    found = meta(about)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{found['name']}.", "namespace": found["namespace"]},
        "type": "Warning" if warning else "Normal",
        "reason": reason,
        "message": message[:1024],
        "involvedObject": {
            "apiVersion": kind.api_version,
            "kind": kind.name,
            "name": found["name"],
            "namespace": found["namespace"],
            "uid": found["uid"],
            "resourceVersion": found.get("resourceVersion", ""),
        },
        "source": {"component": FIELD_MANAGER},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "reportingComponent": FIELD_MANAGER,
        "reportingInstance": reporter,
    }
