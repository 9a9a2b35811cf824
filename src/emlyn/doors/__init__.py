"""Where people and programs come in: thin rooms that parse, call and show."""

import time

LOADED = time.monotonic()
"""When the interpreter had begun: a shell that turned into this process may have run other commands before."""
