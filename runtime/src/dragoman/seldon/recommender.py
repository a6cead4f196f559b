"""Recommenders: which items a user may like, best first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dragoman.authoring import Model, save
from dragoman.call import RECOMMEND
from dragoman.errors import InvalidInput, ModelLoadFailed
from dragoman.formats.authored import declared_signature
from dragoman.formats.format import LoadedModel, ModelFiles, Settings
from dragoman.formats.libraries import versions_of
from dragoman.signature import Field, Signature
from dragoman.storage.digest import digest_of
from dragoman.table import Array, Table

_ARGUMENTS: Mapping[str, Any] = {"ids": (), "recent_interactions": (), "limit": 10, "client": ""}  # what a call leaves out


class Recommender(Model):
    """Subclass it, write `recommend`, and serve what `save_recommender` writes, or a .py file with the class in the folder of its files.

    Override `save` and `load` for what pickling does not carry, or where the class is in a .py file of the model's folder.
    """

    inputs = (Field(name="user", type="integer", example=1),)

    def recommend(self, user: int, ids: Sequence[Any], recent_interactions: Sequence[int], limit: int, client: str) -> Any:
        """Pairs of (item, score) for the user, at most `limit`, in any order; scores are of any scale, higher is better.

        `ids` are the items to choose from; none: whatever the recommender knows. `recent_interactions` are items that the user has
        seen of late, `client` names the tenant. Called with keywords, but for the user.
        """
        raise NotImplementedError

    def save(self, folder: str | Path) -> None:
        """Writes what `load` reads. Nothing, unless overridden: `save_recommender` pickles the object whole."""

    def load(self, folder: Path) -> Any:
        """Reads what `save` wrote; called once, before the first `recommend`."""

    def as_loaded(self, file: str, settings: Settings) -> LoadedModel:
        kind = type(self)
        if kind.recommend is Recommender.recommend:
            raise ModelLoadFailed(f"{file}: {kind.__name__} has no recommend method of its own")
        signature = declared_signature(self, f"{file}: {kind.__name__}")
        predictor = RecommendPredictor(self, signature, bool(kind.rows_independent))
        return LoadedModel(predictor, versions_of(["numpy"]), authored={"seldon": {}})


@dataclass(frozen=True)
class RecommendPredictor:
    """One row a user, in the first column. `recommend` answers a list of (item, score) a row; other outputs are methods as any model's."""

    model: Any
    signature: Signature
    rows_independent: bool

    def predict(self, table: Table, outputs: Sequence[str], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """`InvalidInput` for arguments that are none of `recommend`'s."""
        return {name: self._recommended(table, arguments) if name == RECOMMEND else getattr(self.model, name)(table) for name in outputs}

    def _recommended(self, table: Table, arguments: Mapping[str, Any]) -> Array:
        unknown = sorted(set(arguments) - set(_ARGUMENTS))
        if unknown:
            raise InvalidInput(f"recommend takes {', '.join(_ARGUMENTS)}, not {unknown[0]!r}")
        given = {name: list(value) if isinstance(value, tuple) else value for name, value in (dict(_ARGUMENTS) | dict(arguments)).items()}
        rows = np.empty(table.rows, dtype=object)
        for i, user in enumerate(table.column(0).tolist()):  # one by one: numpy would make an array of several rows' lists
            rows[i] = _pairs(self.model.recommend(int(user), **given))
        return rows


def save_recommender(recommender: Recommender, folder: str | Path) -> str:
    """Writes a recommender to a folder that can be served: the object, pickled with its class, and what its own `save` adds. Its digest."""
    save(recommender, folder)
    recommender.save(folder)
    return digest_of(Path(folder))


def load_recommender(folder: str | Path) -> Any:
    """The recommender of a folder, as a server would load it: to try it, or to go on training."""
    from dragoman.formats import load

    loaded = load(ModelFiles(Path(folder), Path(folder).name, ""))
    if not isinstance(loaded.predictor, RecommendPredictor):
        raise ModelLoadFailed(f"{folder} holds no recommender")
    return loaded.predictor.model


def _pairs(recommended: Any) -> list[tuple[Any, float]]:
    return [(_plain(item), float(score)) for item, score in recommended]


def _plain(item: Any) -> Any:
    """An id as JSON has it: numpy's numbers as Python's."""
    return item.item() if isinstance(item, np.generic) else item
