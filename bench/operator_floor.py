"""What the operator is measured against: a bare loop that lists, watches and applies, and knows nothing else.

It lists ModelDeployments, applies the same five children for each, and watches Deployments until all of them are ready.
Run by bench.operator_scale as a process of its own; prints its CPU-seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

import urllib3

from dragoman_operator.kinds import BY_NAME, DEPLOYMENT, MODEL_DEPLOYMENT
from dragoman_operator.kube import Kube
from dragoman_operator.metrics import Metrics
from dragoman_operator.plan import desired
from dragoman_operator.revision import choose
from dragoman_operator.settings import Settings
from dragoman_operator.spec import ModelDeployment, read


async def main(namespace: str) -> None:
    settings = Settings(runtime_image="registry.example/dragoman:1.0.0")
    kube = Kube.connect(8, Metrics())
    models = [md async for obj in kube.list(MODEL_DEPLOYMENT, namespace, {}) if isinstance(md := read(obj), ModelDeployment)]
    watching = asyncio.create_task(asyncio.to_thread(watch, kube, namespace, len(models)))
    gate = asyncio.Semaphore(8)

    async def bring(md: ModelDeployment) -> None:
        async with gate:
            for body in desired(md, choose(md, (), None, settings), settings):
                await kube.apply(BY_NAME[body["kind"]], body, force=True)

    await asyncio.gather(*map(bring, models))
    await watching
    times = os.times()
    print(json.dumps({"cpu_seconds": times.user + times.system}))
    kube.close()


def watch(kube: Kube, namespace: str, count: int) -> None:
    """Until `count` Deployments are ready."""
    ready: set[str] = set()
    answer: urllib3.BaseHTTPResponse = kube._pool.urlopen(
        "GET", DEPLOYMENT.path(namespace) + "?watch=true&timeoutSeconds=600", preload_content=False, timeout=600
    )
    for line in lines_of(answer):
        found = json.loads(line)["object"]
        if found.get("status", {}).get("readyReplicas"):
            ready.add(found["metadata"]["name"])
        if len(ready) >= count:
            break
    answer.release_conn()


def lines_of(answer: urllib3.BaseHTTPResponse):  # type: ignore[no-untyped-def]
    rest = b""
    for chunk in answer.stream(65536):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
