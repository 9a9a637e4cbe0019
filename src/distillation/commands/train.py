"""Run what notebooks need, without notebooks or Jupyter: `python -m distillation.commands.train PROFILE 02 01`."""

import sys
from importlib import import_module

from distillation.commands.entry import command
from distillation.core.data import DataError
from distillation.core.store import StoreError, results_folder

WINGS = {"01": "mnist", "02": "mnist", "03": "speech", "04": "specialists", "05": "speech", "06": "specialists"}
INTERRUPTED = "\nInterrupted. Finished runs are kept: the same command continues from here."


def train(profile: str, numbers: list[str]) -> int:
    """Run what the notebooks with these numbers, or all, need of a profile, in this order; return the exit status.

    Of each wing only what these runs need is imported.
    """
    wanted = [number.zfill(2) for number in numbers] or list(WINGS)
    if unknown := [number for number in wanted if number not in WINGS]:
        print(f"No runs belong to {', '.join(unknown)}: choose from {', '.join(WINGS)}.", file=sys.stderr)
        return 2
    try:
        for number in wanted:
            import_module(f"distillation.{WINGS[number]}.results").results(profile, number, train=True)
    except ValueError as reason:
        print(reason, file=sys.stderr)
        return 2
    print(f"What {', '.join(wanted)} need is in {results_folder(profile)}.")
    return 0


@command
def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status (0, 1 for data or results, 2: wrong call, 130: Ctrl-C)."""
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0].isdecimal() or words[0].startswith("-"):
        print("Name a profile, and the notebooks whose runs are wanted: PROFILE [01 02 ...].", file=sys.stderr)
        return 2
    try:
        return train(words[0], words[1:])
    except (DataError, StoreError) as reason:
        print(reason, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
