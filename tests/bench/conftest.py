"""The tools of bench/, importable as their own scripts import them."""
import os
import pathlib
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "bench"))


def build_folder() -> pathlib.Path:
    """The folder that the server under test was built in."""
    given = os.environ.get("OMENDB_SERVER_BINARY",
                           str(REPOSITORY / "build" / "release" / "service" / "omendb-server"))
    return pathlib.Path(given).resolve().parents[1]
