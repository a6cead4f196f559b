"""Explanations: what each input contributed to the answer to a row. One module a way of finding out; `explaining` attaches them."""
