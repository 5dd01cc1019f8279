"""Conducts the two libraries: Prefect flows, lineage, tracking, command line."""

__version__ = "0.1.0"
