"""pymlup's web API: one model at the root, `{"X": [rows]}` in, `{"predict_result": […]}` out, now or later."""

from dragoman.dialects.mlup.api import Mlup

__all__ = ["Mlup"]
