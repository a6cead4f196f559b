"""Dragoman: one model, every prediction API."""

__version__ = "0.1.0"
