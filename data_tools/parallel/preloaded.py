"""What the server has done before it forks a worker: imported the heavy packages, made the tables of characters, and
started Numba's machinery, which takes half a second at the first call of any compiled function.

Measured to the first signature of MinHash: a worker that has this from the server 0.3 s of a core (its own kernels are
loaded from Numba's cache), one that starts from nothing 1.5 s.
"""

import numba
import numpy as np
import pyarrow.compute
import pyarrow.parquet  # noqa: F401

import data_tools.config
import data_tools.parquet  # noqa: F401
from data_tools.kernels.characters import character_flags, lower_case
from data_tools.kernels.normal_form import normal_form_characters


@numba.njit(cache=True, nogil=True)
def _first_call(values):  # type: ignore[no-untyped-def]
    total = 0
    for value in values:
        total += value
    return total


_first_call(np.zeros(1, dtype=np.int64))
character_flags()
lower_case()
normal_form_characters()
