"""Compiled loops (numba) over Arrow's buffers: no Python per word. Each has a plain Python twin in the tests."""
