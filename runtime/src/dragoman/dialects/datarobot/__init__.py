"""DataRobot's Prediction API: CSV, JSON or a form in, predictions and explanations out, as JSON or CSV."""

from dragoman.dialects.datarobot.credentials import credentials
from dragoman.dialects.datarobot.dialect import DataRobot

__all__ = ["DataRobot", "credentials"]
