"""Tools for working on archiverd. Not part of the package that is installed."""
