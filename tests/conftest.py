"""What every test stands on."""

from __future__ import annotations

import signal

# A shell starts background jobs (`make test &`, many CI runners) with Ctrl-C's signal ignored, and children inherit
# that. The tests that send it mean a process that was started by a person.
signal.signal(signal.SIGINT, signal.default_int_handler)
