"""The child that compiles, as the loader sees it; what tells one compiled model from another; what counts as the same answer."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from dragoman import children, manifest
from dragoman.call import Prediction
from dragoman.compilation import Compilation, key_of
from dragoman.compiled import Compiled, Made
from dragoman.manifest import ModelDeployment, Outputs
from dragoman.signature import Field
from dragoman.uptake import difference

MADE = Made(folder="/somewhere", compiled=Compiled(engine="onnx", rows=8))
PLAIN = manifest.from_uri("./model.joblib", "iris")
VERSIONS = {"treelite": "4.5.0"}


def compilation(work: Callable[[children.Out], None], limit_seconds: float = 60) -> Compilation:
    child = Compilation(*children.forked(work, lambda: None), limit_seconds)
    child.wait()
    return child


def test_what_it_says_first_is_that_it_makes_something() -> None:
    child = compilation(lambda out: out.writelines([b"compiling\n", msgspec.json.encode(MADE)]))
    assert [child.begins(), child.begins()] == [True, False]
    assert child.verdict() == MADE


def test_what_was_found_begins_nothing() -> None:
    child = compilation(lambda out: out.writelines([msgspec.json.encode(MADE)]))
    assert not child.begins()
    assert child.verdict() == MADE


def test_one_that_is_killed_has_died_and_one_that_takes_too_long_has_not() -> None:
    killed = compilation(lambda _: os.kill(os.getpid(), signal.SIGKILL)).verdict()
    assert (killed.failure, killed.died) == ("the process that compiled it ended: killed by SIGKILL", True)
    late = compilation(lambda _: time.sleep(60), limit_seconds=0.05).verdict()
    assert (late.failure, late.died) == ("compiling was not done within 0.05 s", False)


def changed(**model: Any) -> ModelDeployment:
    spec = PLAIN.spec
    return msgspec.structs.replace(PLAIN, spec=msgspec.structs.replace(spec, model=msgspec.structs.replace(spec.model, **model)))


@pytest.mark.parametrize(
    ("deployment", "digest", "versions"),
    [
        (PLAIN, "sha256:2", VERSIONS),
        (PLAIN, "sha256:1", {"treelite": "4.6.0"}),
        (changed(inputs=(Field(name="a", minimum=0),)), "sha256:1", VERSIONS),
        (changed(outputs=Outputs(classes=("a", "b"))), "sha256:1", VERSIONS),
        (changed(format="sklearn"), "sha256:1", VERSIONS),
    ],
)
def test_what_it_depends_on_tells_one_from_another(deployment: ModelDeployment, digest: str, versions: dict[str, str]) -> None:
    assert key_of(deployment, digest, versions) != key_of(PLAIN, "sha256:1", VERSIONS)


def test_where_the_model_is_does_not() -> None:
    assert key_of(changed(uri="s3://models/iris/"), "sha256:1", VERSIONS) == key_of(PLAIN, "sha256:1", VERSIONS)


@pytest.mark.parametrize(
    ("original", "compiled", "same"),
    [
        ([0.25, 0.75], [0.25 + 1e-15, 0.75], True),
        ([0.25, 0.75], [0.25 + 1e-9, 0.75], False),
        ([float("nan")], [float("nan")], True),
        (["setosa"], ["setosa"], True),
        (["setosa"], ["virginica"], False),
        ([1, 2], [1, 3], False),
        ([1, 2], [1.0, 2.0], False),
        ([[1.0]], [1.0], False),
    ],
)
def test_the_same_answer(original: list[Any], compiled: list[Any], same: bool) -> None:
    wanted = Prediction({"predict": np.array(original)}, len(original))
    assert (difference(wanted, {"predict": np.array(compiled)}, ("predict",)) == "") is same
