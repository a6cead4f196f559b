"""What is asked of every server: a model, rows, and the form in which they are sent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import joblib
import numpy as np
from bench import models
from bench.wrk import Question

Form = Literal["arrays", "objects", "binary"]


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    model: str
    floor: str = "arrays"  # the floor's kind: see floor.py
    rows: int = 1
    form: Form = "arrays"

    @property
    def path(self) -> Path:
        return models.model(self.model)

    @cached_property
    def table(self) -> Any:
        return models.rows_of(self.model, self.rows)

    @cached_property
    def expected(self) -> list[Any]:
        """The model's own answers, in this process."""
        answers: list[Any] = joblib.load(self.path).predict(self.table).tolist()
        return answers


CASES = {
    case.name: case
    for case in (
        Case("A", "iris pipeline, one row of JSON", "iris"),
        Case("B", "HistGradientBoosting, 1,000 rows x 30 of JSON", "hist", rows=1000),
        Case("C", "the same, as a v2 binary tensor", "hist", "binary", rows=1000, form="binary"),
        Case("D-xgboost", "XGBoost, 500 trees, one row", "xgboost", "xgboost"),
        Case("D-lightgbm", "LightGBM, 500 trees, one row", "lightgbm", "lightgbm"),
        Case("E", "mixed-type ColumnTransformer pipeline, one row as an object", "mixed", "objects", form="objects"),
        Case("G-forest", "RandomForest, 100 trees, one row", "forest"),
        Case("G-hist", "HistGradientBoosting, one row", "hist"),
    )
}


def chosen(names: Sequence[str]) -> list[Case]:
    """Cases by name; `D` is all whose name begins with it. Ends with an error for one that is none."""
    found = {wanted: [case for name, case in CASES.items() if name == wanted or name.startswith(wanted + "-")] for wanted in names}
    for wanted, cases in found.items():
        if not cases:
            raise SystemExit(f"{wanted} is no case: there are {', '.join(CASES)}")
    return [case for cases in found.values() for case in cases]


# What servers are asked, and how their answers are read. `head` are a reply's headers, their names in lower case.


def instances(case: Case, path: str) -> Question:
    """v1: rows as arrays, or as objects."""
    rows = case.table.to_dict("records") if case.form == "objects" else case.table.tolist()
    return Question(path, json.dumps({"instances": rows}, default=float).encode())


def predictions(body: bytes, head: Mapping[str, str]) -> list[Any]:
    found: list[Any] = json.loads(body)["predictions"]
    return found


def tensor(case: Case, path: str, name: str = "input") -> Question:
    """v2, JSON."""
    one = {"name": name, "shape": list(case.table.shape), "datatype": "FP64", "data": case.table.ravel().tolist()}
    return Question(path, json.dumps({"inputs": [one]}).encode())


def outputs(body: bytes, head: Mapping[str, str]) -> list[Any]:
    found: list[Any] = json.loads(body)["outputs"][0]["data"]
    return found


def binary_tensor(case: Case, path: str, name: str = "input") -> Question:
    """v2, the tensor's bytes after the JSON, and asked for in the same way (Open Inference Protocol, binary tensor extension)."""
    rows = np.ascontiguousarray(case.table, dtype=np.float64)
    one = {"name": name, "shape": list(rows.shape), "datatype": "FP64", "parameters": {"binary_data_size": rows.nbytes}}
    front = json.dumps({"inputs": [one], "parameters": {"binary_data_output": True}}).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(front))}
    return Question(path, front + rows.tobytes(), headers)


def binary_outputs(body: bytes, head: Mapping[str, str]) -> list[Any]:
    length = int(head.get("inference-header-content-length", len(body)))
    one = json.loads(body[:length])["outputs"][0]
    if "binary_data_size" not in one.get("parameters", {}):
        raise SystemExit("asked for a binary tensor, the answer has none")
    types = {"INT64": "<i8", "INT32": "<i4", "FP64": "<f8"}
    found: list[Any] = np.frombuffer(body[length:], types[one["datatype"]]).tolist()
    return found


def agree(expected: Sequence[Any], answers: Sequence[Any]) -> bool:
    """Labels identical, numbers within 1e-12, relative."""
    if len(expected) != len(answers):
        return False
    return all(
        abs(a - b) <= 1e-12 * abs(a) if isinstance(a, float) and isinstance(b, int | float) else a == b
        for a, b in zip(expected, answers, strict=True)
    )
