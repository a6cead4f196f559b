"""Predictors: what answers a Table. `Predictor` is the protocol; formats make the local ones."""

from dragoman.predictors.predictor import Predictor, checked_outputs, names_of_columns

__all__ = ["Predictor", "checked_outputs", "names_of_columns"]
