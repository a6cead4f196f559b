"""The prediction APIs, one module each."""
