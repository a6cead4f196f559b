"""Models written with `dragoman.seldon`: recognised, saved, loaded, and asked as a predictor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tests.support.models import assert_same, files, iris, loaded

from dragoman.errors import InvalidData, InvalidInput, InvalidSpec, ModelFailed, ModelLoadFailed, UnsupportedFormat
from dragoman.formats import LoadedModel, detect, probe
from dragoman.seldon import Recommender, load_recommender, save_pipeline, save_recommender
from dragoman.seldon.microservices import Microservices, create_prediction_microservice, create_recommendation_microservice
from dragoman.table import Table


class Popular(Recommender):
    """Pickled whole, but for what `save` writes by itself."""

    def __init__(self, counts: dict[int, int]) -> None:
        self.counts, self.extra = counts, "lost"

    def recommend(self, user: int, ids: Any, recent_interactions: Any, limit: int, client: str) -> Any:
        return [(np.int64(item), np.float32(self.counts.get(item, 0) + user)) for item in ids or self.counts][:limit]

    def save(self, folder: str | Path) -> None:
        (Path(folder) / "extra.txt").write_text("read by load")

    def load(self, folder: Path) -> None:
        self.extra = (folder / "extra.txt").read_text()


def recommended(model: LoadedModel, users: list[int], **arguments: Any) -> list[Any]:
    rows = Table.of_columns({"user": np.array(users, dtype=np.int64)})
    answer: list[Any] = model.predictor.predict(rows, ("recommend",), arguments)["recommend"].tolist()
    return answer


def test_a_recommender_is_saved_whole_and_loaded_by_its_own_load(tmp_path: Path) -> None:
    digest = save_recommender(Popular({1: 5, 2: 9}), tmp_path / "model")
    assert digest.startswith("sha256:")
    model = loaded(tmp_path / "model")
    assert recommended(model, [10, 20], limit=2) == [[(1, 15.0), (2, 19.0)], [(1, 25.0), (2, 29.0)]]
    assert recommended(model, [0], ids=[2]) == [[(2, 9.0)]]
    assert [(o.name, o.type) for o in model.predictor.signature.outputs] == [("recommend", "object")]
    assert [(f.name, f.type) for f in model.predictor.signature.inputs] == [("user", "integer")]
    assert model.authored == {"seldon": {}}
    assert load_recommender(tmp_path / "model").extra == "read by load"


def test_a_saved_recommender_needs_nothing_of_its_authors(tmp_path: Path) -> None:
    save_recommender(Popular({1: 5}), tmp_path / "model")
    code = "import sys; from dragoman.seldon import load_recommender; print(load_recommender(sys.argv[1]).recommend(1, [], [], 3, ''))"
    run = [sys.executable, "-c", code, str(tmp_path / "model")]
    assert subprocess.run(run, capture_output=True, text=True, check=True, cwd=tmp_path).stdout == "[(np.int64(1), np.float32(6.0))]\n"


def test_ids_and_scores_come_as_pythons_own_numbers(tmp_path: Path) -> None:
    save_recommender(Popular({1: 5}), tmp_path / "model")
    ((item, score),) = recommended(loaded(tmp_path / "model"), [1])[0]
    assert (type(item), type(score)) == (int, float)


def test_an_argument_that_recommend_does_not_take_is_refused(tmp_path: Path) -> None:
    save_recommender(Popular({1: 5}), tmp_path / "model")
    with pytest.raises(InvalidInput, match="'colour'"):
        recommended(loaded(tmp_path / "model"), [1], colour="blue")


def test_the_example_row_is_recommended_for(tmp_path: Path) -> None:
    save_recommender(Popular({1: 5}), tmp_path / "model")
    found = probe(loaded(tmp_path / "model"))
    assert not found.warnings
    assert [output.name for output in found.signature.outputs] == ["recommend"]


SOURCES = [
    "from dragoman.seldon import Recommender\nclass M(Recommender):",
    "from dragoman.seldon import Recommender as R\nclass M(R):",
    "from dragoman import seldon\nclass M(seldon.Recommender):",
    "import dragoman.seldon\nclass M(dragoman.seldon.Recommender):",
    "import dragoman.seldon as s\nclass M(s.Recommender):",
    "from dragoman.seldon import Recommender\nclass Base(Recommender):\n    pass\nclass M(Base):",
]


@pytest.mark.parametrize("source", SOURCES)
def test_a_recommender_in_a_file_is_told_by_its_syntax(tmp_path: Path, source: str) -> None:
    (tmp_path / "model.py").write_text(f"{source}\n    def recommend(self, user, ids, **rest):\n        return [(1, 0.5)]\n")
    assert detect(files(tmp_path)).told.what == "Python with the model M"
    assert recommended(loaded(tmp_path), [1]) == [[(1, 0.5)]]


OTHERS = ["from elsewhere import Recommender\nclass M(Recommender): pass", "class Pipeline: pass\nclass M(Pipeline): pass"]


@pytest.mark.parametrize("source", OTHERS)
def test_a_class_of_another_package_is_none(tmp_path: Path, source: str) -> None:
    (tmp_path / "model.py").write_text(source)
    with pytest.raises(UnsupportedFormat):
        detect(files(tmp_path))


def test_a_recommender_without_recommend_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("from dragoman.seldon import Recommender\nclass M(Recommender):\n    pass\n")
    with pytest.raises(ModelLoadFailed, match="M has no recommend method of its own"):
        loaded(tmp_path)


def test_what_is_no_recommender_is_not_loaded_as_one(tmp_path: Path) -> None:
    frame, species = iris()
    save_pipeline(LogisticRegression(max_iter=1000).fit(frame, species), tmp_path / "model")
    with pytest.raises(ModelLoadFailed, match="holds no recommender"):
        load_recommender(tmp_path / "model")


# --- pipelines ---------------------------------------------------------------------------------------------------

HANDLED = """
import pandas as pd
from dragoman.seldon import BadDataError, CustomDataHandler, Pipeline

class Handler(CustomDataHandler):
    def {name}(self, request):
        if request == "bad":
            raise BadDataError("no")
        if request == "broken":
            return request["no"]
        return pd.DataFrame(request)

class Iris(Pipeline):
    data_handler = Handler()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    frame, species = iris()
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(frame, species)
    save_pipeline(pipeline, tmp_path / "pipeline", example=frame)
    (tmp_path / "model.py").write_text(HANDLED.format(name="get_data"))
    return tmp_path


def unpacked(model: LoadedModel, *messages: Any) -> Any:
    column = np.empty(len(messages), dtype=object)
    column[:] = messages
    return model.predictor.predict(Table.of_columns({"request": column}), ("predict_proba",), {"unpack": True})["predict_proba"]


@pytest.mark.parametrize("name", ["get_data", "getData"])
def test_a_handlers_rows_are_answered_as_the_pipeline_does(folder: Path, name: str) -> None:
    (folder / "model.py").write_text(HANDLED.format(name=name))
    model = loaded(folder)
    frame, _ = iris()
    rows = [frame.iloc[[i]].to_dict("records") for i in range(3)]
    alone = loaded(folder / "pipeline").predictor.predict(Table.of_array(frame.to_numpy()[:3], list(frame.columns)), ("predict_proba",), {})
    assert_same(unpacked(model, *rows), alone["predict_proba"])
    assert_same(unpacked(model, frame.to_dict("records")), alone["predict_proba"][:1])  # of several rows the first


def test_a_pipeline_with_a_handler_is_still_a_pipeline(folder: Path) -> None:
    with_handler, without = loaded(folder).predictor, loaded(folder / "pipeline").predictor
    assert with_handler.signature.unpacks
    assert not without.signature.unpacks
    assert with_handler.signature.inputs == without.signature.inputs
    assert with_handler.signature.classes == (0, 1, 2)
    assert with_handler.rows_independent
    frame, _ = iris()
    rows = Table.of_array(frame.to_numpy()[:5], list(frame.columns))
    assert_same(with_handler.predict(rows, ("predict",), {})["predict"], without.predict(rows, ("predict",), {})["predict"])


def test_a_message_that_the_handler_refuses_is_invalid_data(folder: Path) -> None:
    model = loaded(folder)
    for message, kind in (("bad", InvalidData), ("broken", ModelFailed), ([], InvalidData), ({"a": []}, InvalidData)):
        with pytest.raises(kind, match=r"^Invalid data$"):
            unpacked(model, message)


def test_a_row_that_the_pipeline_does_not_take_is_named(folder: Path) -> None:
    with pytest.raises(InvalidInput, match="'sepal_width' is missing"):
        unpacked(loaded(folder), [{"sepal_length": 1.0}])


def test_a_pipeline_that_is_not_there_is_said(folder: Path) -> None:
    (folder / "pipeline").rename(folder / "elsewhere")
    with pytest.raises(ModelLoadFailed, match=r"Iris\.pipeline says 'pipeline', which is not in the model's folder"):
        loaded(folder)


def test_a_pipeline_may_be_a_file(folder: Path) -> None:
    (folder / "pipeline" / "model.joblib").rename(folder / "mine.joblib")
    (folder / "model.py").write_text(HANDLED.format(name="get_data") + '    pipeline = "mine.joblib"\n')
    assert loaded(folder).predictor.signature.unpacks


# --- one-line servers --------------------------------------------------------------------------------------------


def test_a_one_line_server_is_a_manifest(tmp_path: Path) -> None:
    made = create_prediction_microservice(tmp_path, "test_model").manifest
    assert made.spec.model.uri == f"{tmp_path}/"
    options = made.spec.serving.dialects
    assert list(options.enabled()) == ["seldon"]
    assert options.seldon is not None
    assert options.seldon.model_name == "test_model"


def test_a_recommendation_server_asks_the_memcached_that_it_is_told() -> None:
    made = Microservices().create_recommendation_microservice("s3://models/rec/", memcache_servers=["one:11211", "two"])
    options = made.manifest.spec.serving.dialects.seldon
    assert options is not None
    assert options.memcached is not None
    assert options.memcached.servers == ("one:11211", "two")
    assert made.manifest.name == "rec"


def test_servers_of_memcached_that_cannot_be_are_refused() -> None:
    with pytest.raises(InvalidSpec, match="host:port"):
        create_recommendation_microservice("rec", memcache_servers=["http://one"])
