"""Formats that data come in elsewhere, one file each; a new file is a new format."""
