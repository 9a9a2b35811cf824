"""`python -m emlyn`."""

from emlyn.doors.cli import main

main()
