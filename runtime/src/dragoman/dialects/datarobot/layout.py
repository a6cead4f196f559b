"""What a model's rows look like in replies: regression, two classes or more; told from its signature and the deployment's options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from dragoman import json
from dragoman.call import EXPLAIN, PREDICT, PREDICT_PROBA, Prediction
from dragoman.datarobot_options import Datarobot as Options
from dragoman.errors import ModelFailed, SignatureMismatch
from dragoman.signature import Output, Signature
from dragoman.table import Array

_OPTION = "spec.serving.dialects.datarobot"
Kind = Literal["regression", "binary", "multiclass"]


@dataclass(frozen=True)
class Layout:
    """`labels` are those of `predictionValues`, in their order: the target's name; the positive class first; the classes.

    `order` says which column of the model's probabilities each label is; `output` the model's own method that gives the values.
    """

    kind: Kind
    target: str
    labels: tuple[Any, ...]
    output: str = PREDICT
    order: tuple[int, ...] = (0,)
    threshold: float = 0.5
    explains: bool = False

    @cached_property
    def label_texts(self) -> tuple[str, ...]:
        """The labels as JSON writes them."""
        return tuple(json.encode(label).decode() for label in self.labels)

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """A JSON row, as what stands before each value, before the prediction and before the row's id."""
        first, *more = [f'{{"label":{text},"value":' for text in self.label_texts]
        threshold = f'"predictionThreshold":{json.encode(self.threshold).decode()},' if self.kind == "binary" else ""
        return f'{{"predictionValues":[{first}', *(f"}},{one}" for one in more), f'}}],{threshold}"prediction":', ',"rowId":'

    @cached_property
    def in_order(self) -> bool:
        return self.order == tuple(range(len(self.labels)))

    def outputs(self, explaining: bool) -> tuple[str, ...]:
        return (self.output, EXPLAIN) if explaining else (self.output,)

    def values(self, prediction: Prediction) -> Array:
        """Shape (rows, labels), in the order of the labels. Raises `ModelFailed` where the model's answer has another shape."""
        given = prediction.outputs[self.output]
        values = _numbers(given, self.output)
        if self.kind == "binary" and (values.ndim == 1 or values.shape[1:] == (1,)):  # a booster's own: of the second class
            values = np.stack([1.0 - values.reshape(-1), values.reshape(-1)], axis=1)
        if values.ndim == 1:
            values = values.reshape(-1, 1)
        if not len(values):
            return np.empty((0, len(self.labels)))
        if values.ndim != 2 or values.shape[1] != len(self.labels):
            raise ModelFailed(f"the model's {self.output} answered with shape {given.shape}: it should be {len(self.labels)} values a row")
        return values if self.in_order else values[:, list(self.order)]

    def decided(self, values: Array) -> Array:
        """For each row which of the labels it is predicted to be: shape (rows,)."""
        if self.kind == "regression":
            return np.zeros(len(values), dtype=np.intp)
        if self.kind == "binary":
            return np.where(values[:, 0] > self.threshold, 0, 1)
        return np.argmax(values, axis=1) if len(values) else np.zeros(0, dtype=np.intp)  # of equal ones the first

    def scores(self, values: Array, decided: Array) -> Array:
        """What thresholds are held against: the value; the positive class's probability; the predicted class's. Shape (rows,)."""
        if self.kind == "multiclass":
            return values[np.arange(len(values)), decided]
        return values[:, 0]

    @property
    def explained_sign(self) -> int:
        """A model explains the second of two classes; where the first is the positive one, what speaks for it speaks against the other."""
        return -1 if self.kind == "binary" and self.order[0] == 0 else 1

    def explained(self, decided: int) -> Any:
        """The label whose value an explanation is of."""
        return self.labels[decided] if self.kind == "multiclass" else self.labels[0]


def layout_of(signature: Signature, options: Options, name: str) -> Layout:
    """Raises `SignatureMismatch` where options and model cannot both be true."""
    target = options.target or signature.target or "target"
    explains = any(output.name == EXPLAIN for output in signature.outputs)
    classes = signature.classes
    if not classes:
        _refuse(
            options.positive_class is not None,
            "positiveClass",
            name,
            "has no classes that are known: spec.model.outputs.classes can name them",
        )
        _refuse(
            options.class_order is not None, "classOrder", name, "has no classes that are known: spec.model.outputs.classes can name them"
        )
        output = _output(signature, PREDICT)
        several = output is not None and output.width is not None and output.width > 1
        _refuse(several, "", name, f"predicts {output.width if output else 0} values a row, and this API has one target")
        return Layout("regression", target, (target,), explains=explains)
    _refuse(options.exposure_column is not None, "exposureColumn", name, "is a classifier: exposure adjusts the values of a regression")
    given = _probabilities(signature, len(classes))
    _refuse(given is None, "", name, "is a classifier without predict_proba, and this API answers with probabilities")
    if len(classes) == 2:
        _refuse(options.class_order is not None, "classOrder", name, "has two classes: positiveClass says which comes first")
        positive = 1 if options.positive_class is None else _index(classes, options.positive_class, "positiveClass", name)
        order: tuple[int, ...] = (positive, 1 - positive)
        kind: Kind = "binary"
    else:
        _refuse(
            options.positive_class is not None,
            "positiveClass",
            name,
            f"has {len(classes)} classes: classOrder says in which order they come",
        )
        order = tuple(_index(classes, label, "classOrder", name) for label in options.class_order or classes)
        _refuse(sorted(order) != list(range(len(classes))), "classOrder", name, f"has the classes {list(classes)}: name each of them once")
        kind = "multiclass"
    labels = tuple(classes[i] for i in order)
    return Layout(kind, target, labels, given or "", order, options.threshold, explains)


def _output(signature: Signature, name: str) -> Output | None:
    return next((output for output in signature.outputs if output.name == name), None)


def _probabilities(signature: Signature, classes: int) -> str | None:
    """The output that holds them: `predict_proba`; a booster's `predict`, where that gives numbers of as many classes."""
    if _output(signature, PREDICT_PROBA) is not None:
        return PREDICT_PROBA
    output = _output(signature, PREDICT)
    if output is None or output.type != "number" or not signature.classes or all(isinstance(c, float) for c in signature.classes):
        return None
    fits = output.width == classes or (classes == 2 and output.width in (None, 1))
    return PREDICT if fits else None


def _index(classes: Sequence[Any], label: Any, option: str, name: str) -> int:
    """Which class a label of the manifest is: the equal one of the same type, else the one that is written alike."""
    for same in (lambda known: type(known) is type(label) and known == label, lambda known: str(known) == str(label)):
        for i, known in enumerate(classes):
            if same(known):
                return i
    raise SignatureMismatch(f"{_OPTION}.{option}: {label!r} is none of the classes of model {name!r}: {list(classes)}")


def _refuse(wrong: bool, option: str, name: str, why: str) -> None:
    if wrong:
        raise SignatureMismatch(f"{_OPTION}{'.' + option if option else ''}: model {name!r} {why}")


def _numbers(given: Array, output: str) -> Array:
    if given.dtype.kind in "iuf":
        return given
    try:
        return np.array(given.tolist(), dtype=np.float64)
    except (TypeError, ValueError):
        raise ModelFailed(f"the model's {output} answered with something that is no number") from None
