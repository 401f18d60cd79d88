"""The version, for the build, the package and what it writes."""

__version__ = "0.2.0"
