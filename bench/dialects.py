"""What a dialect costs: one row of iris in each API, one worker, one connection, against v1; and 1,000 rows of CSV in datarobot against
pandas' own `read_csv` and the model's predict in process.

Run: python -m bench.dialects [--rounds 5] [--seconds 2]
"""

from __future__ import annotations

import argparse
import io
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import joblib
import numpy as np
import pandas as pd
import yaml
from bench.contest import ROOT, WORK, ours, rate, spread, started

IRIS = ROOT / "examples/iris"
ROW = (5.1, 3.5, 1.4, 0.2)
NAMES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
CSV_ROWS = 1000


@dataclass(frozen=True)
class Question:
    """One request that predicts one row."""

    path: str
    body: bytes
    media_type: str = "application/json"


QUESTIONS = {
    "v1": Question("/v1/models/iris:predict", b'{"instances":[[5.1,3.5,1.4,0.2]]}'),
    "v2": Question("/v2/models/iris/infer", b'{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP64","data":[5.1,3.5,1.4,0.2]}]}'),
    "porter": Question("/iris/v1/prediction", b'[{"id":1,"sepal_length":5.1,"sepal_width":3.5,"petal_length":1.4,"petal_width":0.2}]'),
    "datarobot": Question(
        "/predApi/v1.0/deployments/iris/predictions",
        b'[{"sepal_length":5.1,"sepal_width":3.5,"petal_length":1.4,"petal_width":0.2}]',
    ),
    "certifai": Question("/iris/predict", b'{"payload":{"instances":[[5.1,3.5,1.4,0.2]]}}'),
    "mlup": Question("/predict", b'{"X":[[5.1,3.5,1.4,0.2]]}'),
    "seldon": Question(
        "/predict", b"client=bench&json=" + quote('{"data":[5.1,3.5,1.4,0.2]}').encode(), "application/x-www-form-urlencoded"
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    options = parser.parse_args()
    WORK.mkdir(exist_ok=True)
    command, url, management = ours(str(manifest(WORK / "all-dialects.yaml")))
    with started("dialects", command, url, management + "/readyz"):
        for name, question in QUESTIONS.items():
            answer(url, question, name)
            rate(url + question.path, question.body, 1, 1, media_type=question.media_type)
        seconds: dict[str, list[float]] = {name: [] for name in QUESTIONS}
        for _ in range(options.rounds):
            for name, question in QUESTIONS.items():
                requests, _, _ = rate(url + question.path, question.body, 1, options.seconds, media_type=question.media_type)
                seconds[name].append(1 / requests)
        print("one row of iris, one connection")
        for name, values in seconds.items():
            ratios = [a / b for a, b in zip(values, seconds["v1"], strict=True)]
            print(f"  {name:10} {spread([v * 1e6 for v in values]):>24} µs a request   / v1: {spread(ratios, 2)}")
        print(f"{CSV_ROWS} rows of CSV")
        ratios = csv(url, options.rounds * 10)
        print(f"  datarobot / (read_csv + predict in process): {spread(ratios, 2)}")


def manifest(path: Path) -> Path:
    """iris in every API."""
    document = yaml.safe_load((IRIS / "modeldeployment.yaml").read_text(encoding="utf-8"))
    document["spec"]["model"]["uri"] = str(IRIS / "model.joblib")
    document["spec"]["serving"] = {"dialects": {name: {} for name in QUESTIONS}}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def answer(url: str, question: Question, name: str) -> bytes:
    request = urllib.request.Request(url + question.path, question.body, {"content-type": question.media_type})
    with urllib.request.urlopen(request) as reply:
        body: bytes = reply.read()
    if b"setosa" not in body and b"0" not in body:
        raise SystemExit(f"{name} answers {body!r}")
    return body


def csv(url: str, rounds: int) -> list[float]:
    """Seconds of a request of 1,000 rows over seconds in process, round by round; the first of each is not counted."""
    model = joblib.load(IRIS / "model.joblib")
    rows = np.random.default_rng(0).normal(ROW, 0.5, (CSV_ROWS, len(ROW))).round(3)
    body = pd.DataFrame(rows, columns=list(NAMES)).to_csv(index=False).encode()
    question = Question(QUESTIONS["datarobot"].path, body, "text/csv")
    ratios = []
    for turn in range(rounds + 1):
        began = time.perf_counter()
        model.predict(pd.read_csv(io.BytesIO(body)))
        inside = time.perf_counter() - began
        began = time.perf_counter()
        answer(url, question, "datarobot")
        if turn:
            ratios.append((time.perf_counter() - began) / inside)
    return ratios


if __name__ == "__main__":
    main()
