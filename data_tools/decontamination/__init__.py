"""Evaluation sets and what of them stands in the corpus."""
