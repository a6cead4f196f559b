"""An application of the porter API in which each service shows some of the contract."""

import time

import flask

import dragoman.porter.schemas as sc
from dragoman.porter.datascience import BaseModel, BasePostProcessor, BasePreProcessor
from dragoman.porter.exceptions import PorterException, ServiceUnavailable
from dragoman.porter.services import BaseService, ModelApp, PredictionService

features = sc.Object(
    properties={
        "a": sc.Integer("Which case.", additional_params={"minimum": 0, "maximum": 10}),
        "b": sc.Number(additional_params={"minimum": 0}),
        "c": sc.String(additional_params={"enum": ["x", "y"]}),
    },
    reference_name="Features",
)


class OnOrder(BaseModel):
    def predict(self, X):  # type: ignore[no-untyped-def]
        cases = set(X["a"])
        if 7 in cases:
            raise RuntimeError("the inside of the code")
        if 6 in cases:
            return X["b"].tolist()[1:]
        if 5 in cases:
            raise ServiceUnavailable("the feature store is down")
        if 4 in cases:
            return [*X["b"].tolist(), 1.0]
        return X["b"] * 2


def checks(X):  # type: ignore[no-untyped-def]
    if (X["a"] == 9).any():
        raise ValueError("a must not be 9", int(X["id"].iloc[0]))
    if (X["a"] == 8).any():
        raise PorterException("not today", code=418)


class Traced(BaseModel):
    """What each step of the work was given, as its prediction."""

    def predict(self, X):  # type: ignore[no-untyped-def]
        return [{"steps": [*steps, f"predict {list(X.columns)}"]} for _ in range(len(X))]


steps: list[str] = []


def traced_checks(X):  # type: ignore[no-untyped-def]
    steps[:] = [f"checks {list(X.columns)}"]


class TracedPre(BasePreProcessor):
    def process(self, X):  # type: ignore[no-untyped-def]
        steps.append(f"preprocess {list(X.columns)}")
        return X.assign(made=1)


class TracedPost(BasePostProcessor):
    def process(self, X_input, X_preprocessed, predictions):  # type: ignore[no-untyped-def]
        last = f"postprocess {list(X_input.columns)} {list(X_preprocessed.columns)}"
        return [{"steps": [*one["steps"], last]} for one in predictions]


class Columns(BaseModel):
    def predict(self, X):  # type: ignore[no-untyped-def]
        return [list(X.columns) for _ in range(len(X))]


class Shapes(BaseModel):
    """A vector, an object, a text: as the first row says."""

    def predict(self, X):  # type: ignore[no-untyped-def]
        made = {"vector": [1, 2.5], "mixed": ["a", 1], "object": {"p": 0.5}, "text": "yes", "nan": float("nan")}
        return [made[kind] for kind in X["kind"]]


class Sum(BaseModel):
    def predict(self, X):  # type: ignore[no-untyped-def]
        time.sleep(0.02)
        return [int(X["a"].sum())] * len(X)


class Echo(BaseService):
    action = "echo"
    status = "READY"
    route_kwargs = {"methods": ["GET", "POST"]}

    def serve(self):  # type: ignore[no-untyped-def]
        if flask.request.method == "GET":
            return flask.Response(flask.request.args["text"], 203, {"x-own": "1"}, mimetype="text/plain")
        if flask.request.headers.get("x-fail"):
            raise KeyError("inside")
        return {"sent": self.get_post_data(), "id": flask.request.headers["x-request-id"]}


services = [
    PredictionService(
        model=OnOrder(),
        name="checked",
        api_version="v1",
        meta={"algorithm": "none", "trained": 1},
        feature_schema=features,
        validate_request_data=True,
        additional_checks=checks,
    ),
    PredictionService(
        model=Traced(),
        name="traced",
        api_version="v1",
        action="trace",
        namespace="some/space/",
        preprocessor=TracedPre(),
        postprocessor=TracedPost(),
        additional_checks=traced_checks,
        feature_schema=sc.Object(properties={"b": sc.Number(), "a": sc.Number()}),
    ),
    PredictionService(model=Columns(), name="columns", api_version="v1"),
    PredictionService(
        model=Columns(),
        name="all-columns",
        api_version="v1",
        infer_feature_columns=False,
        feature_schema=sc.Object(properties={"a": sc.Number()}),
    ),
    PredictionService(
        model=OnOrder(),
        name="single",
        api_version="v1",
        batch_prediction=False,
        feature_schema=features,
        validate_request_data=True,
    ),
    PredictionService(
        model=OnOrder(),
        name="bounded",
        api_version="v1",
        prediction_schema=sc.Number(additional_params={"minimum": 100}),
        validate_response_data=True,
    ),
    PredictionService(model=Shapes(), name="shapes", api_version="v1"),
    PredictionService(model=Sum(), name="sum", api_version="v1", log_api_calls=True),
    Echo(name="own", api_version="v1"),
]

app = ModelApp(services, name="Contract", description="All of it", version="3", expose_docs=True)
app.run()  # as a script of the API has it: a server that loads this file does not stop here
