"""Two services over one model of penguins: a batch of rows, and one row alone, with the checks that the model's users asked for."""

from pathlib import Path

from dragoman.porter.datascience import BasePostProcessor, BasePreProcessor, WrappedModel
from dragoman.porter.schemas import Number, Object, String
from dragoman.porter.services import ModelApp, PredictionService

HERE = Path(__file__).parent

features = Object(
    "A penguin, as it was measured",
    properties={
        "island": String(additional_params={"enum": ["Biscoe", "Dream", "Torgersen"]}),
        "bill_length_mm": Number(additional_params={"minimum": 0, "example": 39.1}),
        "bill_depth_mm": Number(additional_params={"minimum": 0, "example": 18.7}),
        "flipper_length_mm": Number(additional_params={"minimum": 0, "example": 181}),
        "body_mass_g": Number(additional_params={"minimum": 0, "example": 3750}),
    },
    reference_name="Penguin",
)


class Preprocessor(BasePreProcessor):
    """The model was trained on masses in kilograms."""

    def process(self, X):
        return X.assign(body_mass_kg=X["body_mass_g"] / 1000).drop(columns="body_mass_g")


class Postprocessor(BasePostProcessor):
    """People look for the species as the register writes it."""

    def process(self, X_input, X_preprocessed, predictions):
        return [f"Pygoscelis {species.lower()}" for species in predictions]


def check(X):
    """Raised on purpose: its text reaches the client, with 422."""
    if (X["bill_length_mm"] < X["bill_depth_mm"]).any():
        raise ValueError("a bill is longer than it is deep: were the two mixed up?")


settings = {
    "model": WrappedModel.from_file(HERE / "model.joblib"),
    "api_version": "v1",
    "namespace": "biology",
    "preprocessor": Preprocessor(),
    "postprocessor": Postprocessor(),
    "feature_schema": features,
    "prediction_schema": String("The species."),
    "validate_request_data": True,
    "additional_checks": check,
    "meta": {"algorithm": "logistic regression"},
    "rows_independent": True,
}

app = ModelApp(
    [PredictionService(name="penguins", **settings), PredictionService(name="penguin", batch_prediction=False, **settings)],
    name="Penguins",
    description="Tells the species of a penguin.",
    expose_docs=True,
)

if __name__ == "__main__":
    app.run()
