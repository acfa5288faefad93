"""What the checks of this folder share: one line per check; the first that does not hold ends the program.

Nothing here may repair, retry or skip: what cannot be tried on a machine is said in the open, as a line `not tried`.
"""

import sys

# Longer than anything takes on a slow machine; nothing waits for it to pass.
DEADLINE_SECONDS = 60


def that(sentence: str, holds: bool, found: object = None) -> None:
    """`found` is shown if it does not hold."""
    print(f"{'ok  ' if holds else 'FAIL'} deploy: {sentence}", flush=True)
    if not holds:
        sys.exit(f"deploy: found {found!r}")


def not_tried(sentence: str) -> None:
    print(f"----  not tried: {sentence}", flush=True)
