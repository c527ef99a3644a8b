"""Rows: reading, writing, checking, sampling and building them."""
