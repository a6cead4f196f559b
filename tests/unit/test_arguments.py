"""What a model's own methods take: read off them, and given to them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from lightgbm import Booster
from sklearn.ensemble import RandomForestClassifier
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from dragoman.errors import InvalidInput
from dragoman.predictors.arguments import parameters_of
from dragoman.predictors.authored import AuthoredPredictor
from dragoman.predictors.feed import as_array
from dragoman.signature import Output, Parameter, Signature
from dragoman.table import Table


class Model:
    def predict(self, table: Any, scale: float, note: str | None = None, flag=False, *more: Any, **rest: Any) -> Any:  # type: ignore[no-untyped-def]
        return table

    def late(self, threshold: int, X: Any) -> Any:
        return X[:, 0] > threshold

    def nothing(self) -> Any:
        return None


def predictor_of(model: Any) -> Any:
    return SimpleNamespace(model=model)


@pytest.mark.parametrize(
    ("model", "method", "expected"),
    [
        (
            Model(),
            "predict",
            (Parameter("table"), Parameter("scale", type="float"), Parameter("note", False), Parameter("flag", False, "bool")),
        ),
        (Model(), "late", (Parameter("X"), Parameter("threshold", type="int"))),
        (Model(), "nothing", ()),
        (Model(), "missing", ()),
        (DecisionTreeClassifier(), "predict", (Parameter("X"), Parameter("check_input", False, "bool"))),
        (make_pipeline(RandomForestClassifier()), "predict", (Parameter("X"),)),
        (
            GaussianProcessRegressor(),
            "predict",
            (Parameter("X"), Parameter("return_std", False, "bool"), Parameter("return_cov", False, "bool")),
        ),
        (SimpleNamespace(predict=max), "predict", ()),
    ],
)
def test_parameters_are_read_off_the_method_the_rows_first(model: Any, method: str, expected: Any) -> None:
    assert parameters_of(predictor_of(model), method) == expected


def test_a_native_booster_calls_its_rows_data() -> None:
    assert parameters_of(predictor_of(Booster), "predict")[1].name == "data"  # after self, as this is the class


def test_a_predictor_around_another_has_that_ones_parameters() -> None:
    assert parameters_of(SimpleNamespace(inner=predictor_of(Model()), model="none"), "late")[0] == Parameter("X")


def test_rows_are_given_by_name_where_x_is_not_the_first_parameter() -> None:
    rows = Table.of_array(np.array([[1.0], [3.0]]))
    predictor = AuthoredPredictor(Model(), Signature(outputs=(Output("late"),)), rows_independent=False, feed=as_array)
    assert predictor.predict(rows, ("late",), {"threshold": 2})["late"].tolist() == [False, True]
    with pytest.raises(InvalidInput, match="takes no such arguments: missing a required argument: 'threshold'"):
        predictor.predict(rows, ("late",), {"other": 2})
