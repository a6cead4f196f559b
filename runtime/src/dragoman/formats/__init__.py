"""The model formats, one module each."""
