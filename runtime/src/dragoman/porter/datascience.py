"""What a service is made of: a model, and hooks before and after it. They need not derive from these; the methods are what counts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self


class BaseModel(ABC):
    @abstractmethod
    def predict(self, X: Any) -> Any:
        """One prediction a row of the DataFrame, or of what the preprocessor made of it."""


class BasePreProcessor(ABC):
    @abstractmethod
    def process(self, X: Any) -> Any:
        """What the model predicts from, made of a DataFrame of the feature columns."""


class BasePostProcessor(ABC):
    @abstractmethod
    def process(self, X_input: Any, X_preprocessed: Any, predictions: Any) -> Any:
        """The predictions that are answered, one a row; `X_input` are the rows as they were sent, with `id`."""


class WrappedModel(BaseModel):
    """A model of any library, or one that was saved with joblib or pickle."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def predict(self, X: Any) -> Any:
        return self.model.predict(X)

    @classmethod
    def from_file(cls, path: str | Path, *args: Any, **kwargs: Any) -> Self:
        """Runs the code that the file holds: open only what you trust."""
        import joblib

        return cls(joblib.load(path), *args, **kwargs)


class WrappedTransformer(BasePreProcessor):
    """A fitted transformer as a preprocessor."""

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer

    def process(self, X: Any) -> Any:
        return self.transformer.transform(X)

    @classmethod
    def from_file(cls, path: str | Path, *args: Any, **kwargs: Any) -> Self:
        """Runs the code that the file holds: open only what you trust."""
        import joblib

        return cls(joblib.load(path), *args, **kwargs)
