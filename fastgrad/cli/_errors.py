"""What a subcommand raises for whatever the user can mend."""

from __future__ import annotations


class UsageError(Exception):
    """The message is the one line that the user sees; the exit code is 2."""
