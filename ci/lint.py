"""What every lint here does with its findings: print them, and fail if there are any."""
import pathlib
import sys


def main(check):
    """`check` takes the root of a tree and returns its faults, a line each. The root is the first
    argument, or this checkout. Returns the exit status."""
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1])
    bad = check(root.resolve())
    for line in bad:
        print(line)
    return 1 if bad else 0
