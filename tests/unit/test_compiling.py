"""What is compiled, what is proven, and what happens to rows that a compiled model does not take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dragoman.compiling import compile_model
from dragoman.compiling.errors import NotCompiled
from dragoman.compiling.proof import prove
from dragoman.compiling.rows import Rows
from dragoman.errors import InvalidInput, ModelLoadFailed
from dragoman.formats import ModelFiles, Settings, detect
from dragoman.formats import load as load_files
from dragoman.formats.sklearn import of_estimator
from dragoman.predictors.compiled import CompiledPredictor, SmallBatches, beside, load, verdict_of
from dragoman.signature import Field
from dragoman.storage.digest import digest_of
from dragoman.table import Table


def predictor_of(model: Any) -> Any:
    return of_estimator(model, "model.joblib", Settings()).predictor


@pytest.fixture(scope="module")
def iris() -> Any:
    return predictor_of(make_pipeline(StandardScaler(), LogisticRegression()).fit(*load_iris(return_X_y=True)))


@pytest.fixture(scope="module")
def forest() -> Any:
    return predictor_of(RandomForestClassifier(20, random_state=0).fit(*load_iris(return_X_y=True)))


@pytest.fixture(scope="module")
def compiled_forest(forest: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forest")
    assert compile_model(forest, folder).reason == ""
    return folder


def rows(predictor: Any, *values: Sequence[float]) -> Table:
    return Table.of_array(np.array(values, dtype=np.float64), tuple(f.name for f in predictor.signature.inputs))


@dataclass
class Counting:
    """A predictor that says how often it was asked."""

    inner: Any
    asked: int = 0

    @property
    def signature(self) -> Any:
        return self.inner.signature

    @property
    def rows_independent(self) -> bool:
        return bool(self.inner.rows_independent)

    def predict(self, table: Table, outputs: Sequence[str], arguments: Mapping[str, Any]) -> Any:
        self.asked += 1
        return self.inner.predict(table, outputs, arguments)


# --- the proof -----------------------------------------------------------------------------------------------------


def test_another_forest_is_not_taken_for_this_one(tmp_path: Path, forest: Any, compiled_forest: Path) -> None:
    other = predictor_of(RandomForestClassifier(20, random_state=1).fit(*load_iris(return_X_y=True)))
    with pytest.raises(NotCompiled, match="differs from the original's"):
        prove(other, load(compiled_forest), Rows(other), None)


def test_a_difference_of_a_billionth_is_seen(tmp_path: Path) -> None:
    features, progression = load_diabetes(return_X_y=True)
    model = HistGradientBoostingRegressor(max_iter=10, random_state=0).fit(features, progression)
    assert compile_model(predictor_of(model), tmp_path).reason == ""
    model._baseline_prediction = model._baseline_prediction * (1 + 1e-9)
    with pytest.raises(NotCompiled, match="its predict differs from the original's: by 9"):
        prove(predictor_of(model), load(tmp_path), Rows(predictor_of(model)), None)


def test_swapped_labels_are_seen(forest: Any, compiled_forest: Path) -> None:
    compiled = load(compiled_forest)
    swapped = CompiledPredictor(
        msgspec.structs.replace(compiled.program, labels=(0, 2, 1)),
        compiled.signature,
        compiled.rows_independent,
        compiled.session,
        compiled.interpreter,
    )
    with pytest.raises(NotCompiled, match="its predict differs"):
        prove(forest, swapped, Rows(forest), None)


def test_rows_cover_what_trees_compare_with_and_both_sides_of_it(forest: Any) -> None:
    edge = 2.449999988079071
    tables = list(Rows(forest, [np.empty(0), np.empty(0), np.array([edge]), np.empty(0)]).tables(2000))
    values = np.concatenate([table.to_numpy() for table in tables])[:, 2]
    assert {float(np.nextafter(edge, -np.inf)), edge, float(np.nextafter(edge, np.inf))} <= set(values.tolist())


def test_rows_stay_within_the_declared_range_and_reach_its_ends(forest: Any) -> None:
    bounded = tuple(msgspec.structs.replace(f, minimum=0.5, maximum=7.0) for f in forest.signature.inputs)
    declared = Counting(of_estimator(forest.model, "m", Settings()).predictor)
    signature = msgspec.structs.replace(forest.signature, inputs=bounded)

    class Declared:
        model = declared.inner.model

    Declared.signature = signature  # type: ignore[attr-defined]
    values = np.concatenate([table.to_numpy() for table in Rows(Declared).tables(2000)])
    assert np.nanmin(values) == 0.5
    assert np.nanmax(values) == 7.0


def test_rows_have_missing_values_where_the_model_takes_them() -> None:
    features, progression = load_diabetes(return_X_y=True)
    predictor = predictor_of(HistGradientBoostingRegressor(max_iter=5).fit(features, progression))
    values = np.concatenate([table.to_numpy() for table in Rows(predictor).tables(1000)])
    assert 0.02 < np.isnan(values).mean() < 0.2


def test_the_verdict_stands_beside_what_it_is_of(forest: Any, compiled_forest: Path) -> None:
    verdict = verdict_of(compiled_forest)
    assert verdict.engine == "treelite"
    assert verdict.largest_difference == 0.0
    assert verdict.rows >= 2000
    assert {"treelite", "scikit-learn", "numpy"} <= verdict.versions.keys()


# --- beside the original -------------------------------------------------------------------------------------------


def test_small_batches_are_the_compiled_models_and_large_ones_the_originals(forest: Any, compiled_forest: Path) -> None:
    original = Counting(forest)
    both = SmallBatches(original, load(compiled_forest), up_to_rows=4)
    row = [5.1, 3.5, 1.4, 0.2]
    assert both.predict(rows(forest, *[row] * 4), ("predict",), {})["predict"].tolist() == [0] * 4
    assert original.asked == 0
    both.predict(rows(forest, *[row] * 5), ("predict",), {})
    assert original.asked == 1


@pytest.mark.parametrize("strange", [np.nan, np.inf, 1e300])
def test_the_original_refuses_what_it_refused_before(forest: Any, compiled_forest: Path, strange: float) -> None:
    """A forest compares in 32 bits: what is too large for them it refuses."""
    both = beside(forest, compiled_forest, 1)
    table = rows(forest, [5.1, strange, 1.4, 0.2])
    try:
        expected = forest.predict(table, ("predict",), {})
    except (InvalidInput, ValueError) as refused:
        with pytest.raises(type(refused), match=str(refused)[:40]):
            both.predict(table, ("predict",), {})
    else:
        assert both.predict(table, ("predict",), {})["predict"].tolist() == expected["predict"].tolist()


def test_outputs_that_are_not_compiled_are_the_originals(iris: Any, tmp_path: Path) -> None:
    assert "decision_function" not in compile_model(iris, tmp_path).outputs
    both = beside(iris, tmp_path, 1)
    table = rows(iris, [5.1, 3.5, 1.4, 0.2])
    expected = iris.predict(table, ("predict", "decision_function"), {})
    answered = both.predict(table, ("predict", "decision_function"), {})
    assert answered["decision_function"].tolist() == expected["decision_function"].tolist()


def test_columns_in_another_order_go_to_the_original(forest: Any, compiled_forest: Path) -> None:
    original = Counting(forest)
    both = SmallBatches(original, load(compiled_forest), up_to_rows=64)
    both.predict(Table.of_array(np.ones((1, 4)), ("d", "c", "b", "a")), ("predict",), {})
    assert original.asked == 1


# --- alone ---------------------------------------------------------------------------------------------------------


def files(folder: Path) -> ModelFiles:
    return ModelFiles(folder, folder.name, digest_of(folder))


def test_a_compiled_folder_is_told_from_its_program_and_is_data(compiled_forest: Path) -> None:
    found = detect(files(compiled_forest))
    assert found.format.name == "compiled"
    assert not found.runs_code


def test_alone_it_refuses_rows_that_are_no_numbers(compiled_forest: Path) -> None:
    alone = load_files(files(compiled_forest)).predictor
    with pytest.raises(InvalidInput):
        alone.predict(rows(alone, [5.1, np.inf, 1.4, 0.2]), ("predict",), {})
    with pytest.raises(InvalidInput, match="takes no arguments"):
        alone.predict(rows(alone, [5.1, 3.5, 1.4, 0.2]), ("predict",), {"check": True})


def test_declared_names_hold_for_a_compiled_model(compiled_forest: Path) -> None:
    names = ("sepal_length", "sepal_width", "petal_length", "petal_width")
    alone = load_files(files(compiled_forest), inputs=[Field(name=name) for name in names]).predictor
    table = Table.of_array(np.array([[5.1, 3.5, 1.4, 0.2]]), names)
    assert alone.predict(table, ("predict",), {})["predict"].tolist() == [0]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "program.json").write_text('{"dragoman": "0.1.0", "signature": 7}'), "program.json could not be read"),
        (lambda folder: (folder / "model.treelite").unlink(), "names model.treelite, which is not beside it"),
        (lambda folder: (folder / "model.treelite").write_bytes(b"no trees"), "could not be loaded"),
    ],
)
def test_a_damaged_folder_says_what_is_wrong_with_it(tmp_path: Path, forest: Any, damage: Any, message: str) -> None:
    compile_model(forest, tmp_path)
    damage(tmp_path)
    with pytest.raises(ModelLoadFailed, match=message):
        load_files(files(tmp_path))


def test_proven_with_other_versions_is_told(tmp_path: Path, forest: Any) -> None:
    compile_model(forest, tmp_path)
    verdict = tmp_path / "compiled.json"
    verdict.write_text(verdict.read_text().replace(verdict_of(tmp_path).versions["treelite"], "4.0.0"))
    assert any("treelite" in line for line in load_files(files(tmp_path)).warnings)
