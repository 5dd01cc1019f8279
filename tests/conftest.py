"""What every test stands on."""

from __future__ import annotations

import signal

from hypothesis import settings

# A shell starts background jobs (`make test &`, many CI runners) with Ctrl-C's signal ignored, and children inherit
# that. The tests that send it mean a process that was started by a person.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A property's first example may compile a kernel, and the machine may be busy: how long one takes says nothing here.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
