"""The environments of a comparison: one for the tool, one for each peer, under build/bench-venv.

A peer's packages are pinned in bench/peers/requirements/<peer>.txt. Each has an environment of its
own because their dependencies contradict each other, and because one that cannot be installed must
not take the others with it.
"""
from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

BENCH = pathlib.Path(__file__).resolve().parents[1]
REPOSITORY = BENCH.parent
FOLDER = REPOSITORY / "build" / "bench-venv"
REQUIREMENTS = BENCH / "peers" / "requirements"
INSTALL_SECONDS = 900

# They choose kernels for other people's old builds of OpenBLAS and slow down a new one.
UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")


class NotInstalled(Exception):
    """Why a peer is not there, in a sentence."""


def variables(threads: int) -> dict[str, str]:
    """The environment variables that a contestant runs with."""
    kept = {name: value for name, value in os.environ.items() if name not in UNSET}
    return {**kept, **{name: str(threads) for name in THREADS}, "PYTHONDONTWRITEBYTECODE": "1"}


def run(command: list[str], log: pathlib.Path) -> None:
    with open(log, "a", encoding="utf-8") as out:
        out.write(f"$ {' '.join(command)}\n")
        out.flush()
        try:
            done = subprocess.run(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                  timeout=INSTALL_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise NotInstalled(f"not installed within {INSTALL_SECONDS} s, see {log}") from None
    if done.returncode != 0:
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
                 if line.strip() and not line.startswith("$")]
        raise NotInstalled(f"{lines[-1][:200] if lines else 'pip failed'} (see {log})")


def version_of(name: str) -> str:
    """The package of a peer and its version: the first line of its requirements."""
    path = REQUIREMENTS / f"{name}.txt"
    return path.read_text(encoding="ascii").splitlines()[0] if path.is_file() else ""


def fingerprint(folders: list[pathlib.Path]) -> str:
    """Changes when a source file in the folders does."""
    told = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".py", ".proto", ".toml"):
                told.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return told.hexdigest()


def python_of(name: str, *more: str, state: str = "") -> pathlib.Path:
    """The interpreter of an environment, which is made or renewed when its requirements, or the
    `state` of something else in it, are not those that it was made with. `more` are further words
    for pip install.

    Raises NotInstalled."""
    wanted = "\n".join([(REQUIREMENTS / f"{name}.txt").read_text(encoding="ascii"), *more, state])
    place = FOLDER / name
    python, installed = place / "bin" / "python", place / "installed.txt"
    if installed.is_file() and installed.read_text(encoding="ascii") == wanted:
        return python
    FOLDER.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(place, ignore_errors=True)
    log = FOLDER / f"{name}.log"
    log.unlink(missing_ok=True)
    print(f"installing {name} into {place}", flush=True)
    run([sys.executable, "-m", "venv", str(place)], log)
    run([str(python), "-m", "pip", "install", "--disable-pip-version-check", "-r",
         str(REQUIREMENTS / f"{name}.txt"), *more], log)
    installed.write_text(wanted, encoding="ascii")
    return python


def enter(script: pathlib.Path) -> None:
    """Returns in an interpreter that has numpy and our client: this one, or else the script is
    started again in the tool's environment."""
    try:
        import numpy  # noqa: F401
        import omendb_client  # noqa: F401
        return
    except ImportError:
        pass
    client = REPOSITORY / "clients" / "python"
    python = python_of("tool", str(client),
                       state=fingerprint([client / "src", REPOSITORY / "proto"]))
    if pathlib.Path(sys.executable).absolute() == python.absolute():
        raise SystemExit(f"{python} lacks numpy or omendb_client; remove {FOLDER} and try again")
    os.execv(python, [str(python), str(script), *sys.argv[1:]])
