"""The prediction APIs, one module each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module

from dragoman.dialects.dialect import Dialect

_TABLE = {
    "v1": ("v1", "V1"),
    "v2": ("v2", "V2"),
    "v2_grpc": ("v2", "V2Grpc"),
    "porter": ("porter", "Porter"),
    "mlup": ("mlup", "Mlup"),
    "certifai": ("certifai", "Certifai"),
    "datarobot": ("datarobot", "DataRobot"),
    "seldon": ("seldon", "Seldon"),
    "seldon_grpc": ("seldon", "SeldonGrpc"),
}
"""By a dialect's name, which is its module's: what switches it on, and its class."""

OPTIONS: Mapping[str, str] = {name: option for name, (option, _) in _TABLE.items()}
"""By a dialect's name, what switches it on: its key under `spec.serving.dialects`."""


class _Dialects(Mapping[str, Dialect]):
    """By name. Each is imported when it is first asked for: a server starts sooner without those that are off."""

    def __getitem__(self, name: str) -> Dialect:
        return _made(name, _TABLE[name][1])

    def __iter__(self) -> Iterator[str]:
        return iter(_TABLE)

    def __len__(self) -> int:
        return len(_TABLE)


@cache
def _made(name: str, of: str) -> Dialect:
    dialect: Dialect = getattr(import_module(f"{__name__}.{name}"), of)()
    return dialect


DIALECTS = _Dialects()
