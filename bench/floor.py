"""The floor: the best endpoint that someone would write by hand for one model. Starlette, uvicorn, orjson, an inline predict.

Run: python bench/floor.py MODEL PORT [KIND [WORKERS]]
KIND says what a request holds and how the model is asked: `arrays` (the default), `batched`, `objects`, `binary`, `xgboost`, `lightgbm`.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import joblib
import numpy as np
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PATH = "/v1/models/iris:predict"  # of every model: it has but one
Endpoint = Callable[[Request], Awaitable[Response]]


def make_app() -> Starlette:
    model, kind = joblib.load(sys.argv[1]), sys.argv[3] if len(sys.argv) > 3 else "arrays"

    async def ready(_: Request) -> Response:
        return Response(b"ok")

    return Starlette(routes=[Route(PATH, KINDS[kind](model), methods=["POST"]), Route("/readyz", ready)])


def predictions(values: list[Any]) -> Response:
    return Response(orjson.dumps({"predictions": values}), media_type="application/json")


def arrays(model: Any) -> Endpoint:
    async def predict(request: Request) -> Response:
        rows = np.asarray(orjson.loads(await request.body())["instances"], dtype=np.float64)
        return predictions(model.predict(rows).tolist())

    return predict


def batched(model: Any) -> Endpoint:
    """What came while the last predict ran is predicted together."""
    waiting: list[tuple[Any, asyncio.Future[list[Any]]]] = []

    def flush() -> None:
        answers = model.predict(np.concatenate([rows for rows, _ in waiting])).tolist()
        first = 0
        for rows, future in waiting:
            future.set_result(answers[first : first + len(rows)])
            first += len(rows)
        waiting.clear()

    async def predict(request: Request) -> Response:
        rows = np.asarray(orjson.loads(await request.body())["instances"], dtype=np.float64)
        loop = asyncio.get_running_loop()
        if not waiting:
            loop.call_soon(flush)
        future = loop.create_future()
        waiting.append((rows, future))
        return predictions(await future)

    return predict


def objects(model: Any) -> Endpoint:
    import pandas as pd

    async def predict(request: Request) -> Response:
        return predictions(model.predict(pd.DataFrame(orjson.loads(await request.body())["instances"])).tolist())

    return predict


def binary(model: Any) -> Endpoint:
    """Open Inference Protocol, binary tensor extension: JSON, and after it the tensor's bytes."""

    async def predict(request: Request) -> Response:
        body, length = await request.body(), int(request.headers["inference-header-content-length"])
        shape = orjson.loads(body[:length])["inputs"][0]["shape"]
        answers = model.predict(np.frombuffer(body, np.float64, offset=length).reshape(shape))
        output = {"name": "predict", "datatype": "INT64", "shape": [len(answers)], "parameters": {"binary_data_size": answers.nbytes}}
        head = orjson.dumps({"model_name": "floor", "outputs": [output]})
        return Response(head + answers.tobytes(), headers={"inference-header-content-length": str(len(head))})

    return predict


def xgboost(model: Any) -> Endpoint:
    """The booster's prediction of a plain array, in place: no DMatrix, no scikit-learn wrapper."""
    booster, classes = model.get_booster(), model.classes_
    booster.set_param({"nthread": 1})

    async def predict(request: Request) -> Response:
        rows = np.asarray(orjson.loads(await request.body())["instances"], dtype=np.float32)
        return predictions(classes[(booster.inplace_predict(rows) > 0.5).astype(int)].tolist())

    return predict


def lightgbm(model: Any) -> Endpoint:
    single, classes = SingleRow(model.booster_), model.classes_

    async def predict(request: Request) -> Response:
        rows = np.asarray(orjson.loads(await request.body())["instances"], dtype=np.float64)
        return predictions([classes[int(single(row) > 0.5)].item() for row in rows])

    return predict


class SingleRow:
    """LightGBM's own function for a single row, which its Python package does not offer: 8 us, where `Booster.predict` takes 23."""

    def __init__(self, booster: Any) -> None:
        from lightgbm.basic import _LIB  # type: ignore[attr-defined]  # its own names end there

        self.booster, self.handle, self.library = booster, ctypes.c_void_p(), _LIB
        double, width, parameters = 1, booster.num_feature(), ctypes.c_char_p(b"num_threads=1")
        if _LIB.LGBM_BoosterPredictForMatSingleRowFastInit(booster._handle, 0, 0, -1, double, width, parameters, ctypes.byref(self.handle)):
            raise SystemExit("LightGBM refuses to predict single rows")
        self.found, self.count = np.empty(1), ctypes.c_int64()
        self.pointer = self.found.ctypes.data_as(ctypes.POINTER(ctypes.c_double))

    def __call__(self, row: Any) -> float:
        address = ctypes.c_void_p(row.ctypes.data)
        self.library.LGBM_BoosterPredictForMatSingleRowFast(self.handle, address, ctypes.byref(self.count), self.pointer)
        return float(self.found[0])


KINDS: dict[str, Callable[[Any], Endpoint]] = {k.__name__: k for k in (arrays, batched, objects, binary, xgboost, lightgbm)}


def main() -> None:
    workers = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    # Each has a socket of its own. Uvicorn's own workers share one that says nothing of TCP, so that asyncio leaves TCP_NODELAY off: 40 ms.
    for _ in range(workers - 1):
        if os.fork() == 0:
            break
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.bind(("127.0.0.1", int(sys.argv[2])))
    config = uvicorn.Config(make_app, factory=True, loop="asyncio", http="httptools", access_log=False, log_level="warning")
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
