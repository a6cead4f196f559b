"""The prediction APIs, one module each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module

from dragoman.dialects.dialect import Dialect

OPTIONS: Mapping[str, str] = {
    "v1": "v1",
    "v2": "v2",
    "v2_grpc": "v2",
    "porter": "porter",
    "mlup": "mlup",
    "certifai": "certifai",
    "datarobot": "datarobot",
    "seldon": "seldon",
    "seldon_grpc": "seldon",
}
"""By a dialect's name, what switches it on: its key under `spec.serving.dialects`."""

_CLASSES = {
    "v1": "V1",
    "v2": "V2",
    "v2_grpc": "V2Grpc",
    "porter": "Porter",
    "mlup": "Mlup",
    "certifai": "Certifai",
    "datarobot": "DataRobot",
    "seldon": "Seldon",
    "seldon_grpc": "SeldonGrpc",
}


class _Dialects(Mapping[str, Dialect]):
    """By name. Each is imported when it is first asked for: a server starts sooner without those that are off."""

    def __getitem__(self, name: str) -> Dialect:
        return _made(name, _CLASSES[name])

    def __iter__(self) -> Iterator[str]:
        return iter(_CLASSES)

    def __len__(self) -> int:
        return len(_CLASSES)


@cache
def _made(name: str, of: str) -> Dialect:
    dialect: Dialect = getattr(import_module(f"{__name__}.{name}"), of)()
    return dialect


DIALECTS = _Dialects()
