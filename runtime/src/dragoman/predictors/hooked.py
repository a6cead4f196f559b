"""Predictors around an author's model: hooks before and after it, and several such models as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from dragoman.errors import CallError, InvalidInput
from dragoman.predictors.predictor import Predictor
from dragoman.signature import Signature
from dragoman.table import Table

Check = Callable[[Any], object]  # raises ValueError for a frame that it refuses
Refusal = Callable[[ValueError], CallError]


@dataclass(frozen=True)
class HookedPredictor:
    """A model's own predict, with its author's hooks around it, on a pandas DataFrame of the rows as they were sent.

    In this order: `check` sees every column; the columns that are `features` are kept; `preprocess` makes of them what the model takes;
    `postprocess` is given the rows as sent, what the model took, and its predictions. Any of them may be None.
    """

    model: Any
    signature: Signature
    rows_independent: bool = False
    features: Sequence[str] | None = None
    check: Check | None = None
    refusal: Refusal = lambda error: InvalidInput(str(error))  # what a caller sees of what `check` raised
    preprocess: Callable[[Any], Any] | None = None
    postprocess: Callable[[Any, Any, Any], Any] | None = None

    def predict(self, table: Table, outputs: Sequence[str], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Raises what hooks and model raise; of a ValueError of the check, its `refusal`."""
        sent = frame_of(table)
        if self.check is not None:
            try:
                self.check(sent)
            except ValueError as error:
                raise self.refusal(error) from error
        taken = sent.copy() if self.features is None else sent[list(self.features)]
        if self.preprocess is not None:
            taken = self.preprocess(taken)
        with np.errstate(all="ignore"):
            return {name: self._answer(name, sent, taken) for name in outputs}

    def _answer(self, name: str, sent: Any, taken: Any) -> Any:
        predictions = getattr(self.model, name)(taken)
        return items_of(predictions if self.postprocess is None else self.postprocess(sent, taken, predictions))


class Hosted(Protocol):
    """One of several behind one address; it makes its predictor anew, with what it is made of now."""

    def predictor(self) -> Predictor: ...


@dataclass(frozen=True)
class ServicesPredictor:
    """Several authors' services as one model; the argument `service` says which is meant, and where there is one it need not be said."""

    services: Mapping[str, Hosted]
    signature: Signature
    rows_independent: bool = False
    authored: Mapping[str, Any] = field(default_factory=dict)  # what dialects are told of them, as it changes
    examples: Mapping[str, Table] = field(default_factory=dict)  # rows that a service takes, where that is known

    def rehearse(self) -> list[str]:
        """Predict each service's example once: a line for each that failed. One that refused its example on purpose did not."""
        failed = []
        for service, rows in self.examples.items():
            try:
                self.predict(rows, ("predict",), {"service": service})
            except CallError:
                pass
            except Exception as error:  # noqa: BLE001  the author's code may raise anything
                failed.append(
                    f"the service {service} failed on its example row: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
                )
        return failed

    def predict(self, table: Table, outputs: Sequence[str], arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """`InvalidInput` where none is named and there are several."""
        named = arguments.get("service")
        if named is None and len(self.services) != 1:
            raise InvalidInput(f"this model is {len(self.services)} services, {', '.join(self.services)}: they answer in the porter API")
        service = next(iter(self.services.values())) if named is None else self.services[named]
        return service.predictor().predict(table, outputs, {})


def frame_of(table: Table) -> Any:
    """Rows as pandas makes a DataFrame of them: a table's one column of whole rows, else its own columns."""
    import pandas as pd

    if table.rows and table.width == 1 and isinstance(table.column(0)[0], dict):
        return pd.DataFrame(table.column(0).tolist())
    return table.to_frame()


def items_of(answer: Any) -> Any:
    """What a model answered, one item a row, each as it is: a list's items are not made alike, as numpy would make them."""
    if hasattr(answer, "toarray"):  # a sparse matrix
        return answer.toarray()
    if isinstance(answer, Iterator):
        answer = list(answer)
    if not isinstance(answer, list | tuple):
        return answer
    items = np.empty(len(answer), dtype=object)
    items[:] = [item.item() if isinstance(item, np.generic) else item for item in answer]
    return items
