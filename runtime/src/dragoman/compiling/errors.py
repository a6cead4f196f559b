"""Why a model is not compiled."""


class NotCompiled(Exception):
    """The text says which part stands against it; the model is served as it is."""
