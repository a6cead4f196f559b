"""The floor: the best endpoint that someone would write by hand for one model. Starlette, uvicorn, orjson, an inline predict.

Run: python bench/floor.py MODEL PORT
"""

from __future__ import annotations

import sys

import joblib
import numpy as np
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

model = joblib.load(sys.argv[1])


async def predict(request: Request) -> Response:
    rows = np.asarray(orjson.loads(await request.body())["instances"], dtype=np.float64)
    return Response(orjson.dumps({"predictions": model.predict(rows).tolist()}), media_type="application/json")


async def ready(_: Request) -> Response:
    return Response(b"ok")


app = Starlette(routes=[Route("/v1/models/iris:predict", predict, methods=["POST"]), Route("/readyz", ready)])

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]), loop="asyncio", http="httptools", access_log=False, log_level="warning")
