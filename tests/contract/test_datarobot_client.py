"""DataRobot's own client of its Prediction API, `datarobot-predict`, against a real server: only the address is another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from datarobot.client import set_client
from datarobot.errors import ClientError
from datarobot.rest import RESTClientObject
from datarobot_predict import TimeSeriesType
from datarobot_predict.deployment import PredictionResult, clear_context, predict
from sklearn.datasets import load_iris
from tests.support.serving import Server, manifest, serving

pytestmark = pytest.mark.filterwarnings("ignore:Using an empty collection for 'allowed_methods':FutureWarning")  # the client's own
ROOT = Path(__file__).parents[2]
IRIS = ROOT / "examples/iris/model.joblib"
DEPLOYMENT, TOKEN = "5f22ba7ade0f435ba7217bcf", "NWQ1NDA3ZWNmMTZlMjA"
FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
CLASSES = ["setosa", "versicolor", "virginica"]
SERIES = {
    "timestampColumn": "day",
    "seriesIdColumn": "shop",
    "timeUnit": "day",
    "forecastWindow": {"end": 3},
    "knownInAdvance": ["promotion"],
}
SALES = pd.DataFrame(
    [
        {"day": f"2024-01-0{day}", "shop": shop, "sales": base + day if day < 4 else None, "promotion": int(day == 5), "weather": "rain"}
        for shop, base in (("north", 100), ("south", 200))
        for day in range(1, 7)
    ]
)
Ask = Callable[..., PredictionResult]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("client")
    (folder / "tokens").write_text(f"{TOKEN}\n")
    served = folder / "served"
    served.mkdir()

    def model(name: str, uri: Path, outputs: dict[str, Any], **options: Any) -> None:
        guarded = {"dialects": {"datarobot": options}, "auth": {"tokens": {"file": str(folder / "tokens")}}}
        manifest(served, name, uri, model={"outputs": outputs}, serving=guarded)

    model("iris", IRIS, {"target": "species", "classes": CLASSES}, deploymentId=DEPLOYMENT)
    model("sales", ROOT / "tests/models/sales.py", {}, timeSeries=SERIES)
    with serving(folder, served) as started:
        yield started


@pytest.fixture
def with_token(server: Server) -> Iterator[Callable[[str], Ask]]:
    """The client's `predict`, with an account at DataRobot that it never asks: predictions go to our address."""

    def of(token: str) -> Ask:
        clear_context()
        set_client(RESTClientObject(auth=token, endpoint=f"{server.rest}/api/v2"))
        return lambda deployment, rows, **how: predict(deployment, rows, prediction_endpoint=f"{server.rest}/predApi/v1.0", **how)

    yield of
    clear_context()


@pytest.fixture
def ask(with_token: Callable[[str], Ask]) -> Ask:
    return with_token(TOKEN)


def day(number: int) -> datetime:
    return datetime(2024, 1, number, tzinfo=UTC)


def flowers() -> pd.DataFrame:
    return pd.DataFrame(load_iris().data, columns=FEATURES)


def test_its_data_frame_has_the_models_answers(ask: Ask) -> None:
    rows, model = flowers(), joblib.load(IRIS)
    result = ask(DEPLOYMENT, rows)
    assert result.dataframe["species_PREDICTION"].tolist() == [CLASSES[label] for label in model.predict(rows)]
    scores = result.dataframe[[f"species_{name}_PREDICTION" for name in CLASSES]]
    np.testing.assert_allclose(scores, model.predict_proba(rows), rtol=1e-12, atol=0)
    assert result.response_headers["X-DataRobot-Model-Cache-Hit"] == "true"


def test_explanations_and_passthrough_columns_are_columns_of_it(ask: Ask) -> None:
    rows = flowers().head(3)
    found = ask(DEPLOYMENT, rows, max_explanations=2, passthrough_columns={"sepal_width", "petal_width"}).dataframe
    assert found["EXPLANATION_1_FEATURE_NAME"].tolist() == ["petal_length"] * 3
    assert (found["EXPLANATION_1_STRENGTH"].abs() >= found["EXPLANATION_2_STRENGTH"].abs()).all()
    assert "EXPLANATION_3_FEATURE_NAME" not in found
    pd.testing.assert_frame_equal(found[["sepal_width", "petal_width"]], rows[["sepal_width", "petal_width"]])
    every = ask(DEPLOYMENT, rows, passthrough_columns="all").dataframe
    pd.testing.assert_frame_equal(every[FEATURES], rows)


def test_forecasts_of_a_point_and_of_a_range(ask: Ask) -> None:
    found = ask("sales", SALES).dataframe
    assert found["sales_PREDICTION"].tolist() == [113, 223, 133, 213, 323, 233]
    assert found["FORECAST_DISTANCE"].tolist() == [1, 2, 3] * 2
    earlier = ask("sales", SALES, forecast_point=day(2)).dataframe
    assert set(earlier["FORECAST_POINT"]) == {"2024-01-02T00:00:00Z"}
    some = {"predictions_start_date": day(2), "predictions_end_date": day(4)}
    between = ask("sales", SALES, time_series_type=TimeSeriesType.HISTORICAL, **some).dataframe
    assert between["FORECAST_POINT"].str[:10].tolist() == ["2024-01-01", "2024-01-02", "2024-01-01"] * 2
    whole = ask("sales", SALES, time_series_type=TimeSeriesType.HISTORICAL).dataframe
    assert len(whole) == 24


def test_what_is_refused_is_an_error_of_the_client_with_the_servers_reason(ask: Ask) -> None:
    with pytest.raises(ClientError, match=r"features expected but not found: \['petal_width'\]") as refused:
        ask(DEPLOYMENT, flowers().drop(columns="petal_width"))
    assert refused.value.status_code == 422
    with pytest.raises(ClientError, match="'maxNgramExplanations': maxNgramExplanations is not allowed key"):
        ask(DEPLOYMENT, flowers(), max_ngram_explanations="all")


def test_a_token_that_is_none_is_refused(with_token: Callable[[str], Ask]) -> None:
    with pytest.raises(ClientError, match="make sure your API token is valid") as refused:
        with_token("another")(DEPLOYMENT, flowers())
    assert refused.value.status_code == 401
