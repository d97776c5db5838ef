"""Measurements of archiverd. Not part of the package that is installed."""
