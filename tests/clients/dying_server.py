"""omendb-server-faults: the real server, which kills itself where it is told to.

OMENDB_FAULT_KILL=link:9 makes it send itself SIGKILL when it passes the point "link" for the ninth
time (engine/fault_point.h).
"""
import os
import pathlib
import re
import signal
import subprocess
import threading

import pytest

SHARDS = 4
FLAGS = ("--ingest-threads", "2", "--search-threads", "1", "--shards", str(SHARDS))
START_SECONDS = 60
ENGINE = pathlib.Path(__file__).resolve().parents[2] / "engine"


def points():
    """The names of the fault points in the engine's sources."""
    found = set()
    for path in ENGINE.glob("*.c"):
        found |= set(re.findall(r'OMEN_FAULT_POINT\("(\w+)"\)', path.read_text()))
    return sorted(found)


def binary():
    named = os.environ.get("OMENDB_FAULTS_BINARY")
    if named:
        return named
    server = pathlib.Path(os.environ.get("OMENDB_SERVER_BINARY", ""))
    path = server.parent.parent / "tests" / "clients" / "omendb-server-faults"
    if not path.is_file():
        pytest.fail(f"{path} is missing: build it (release preset), or set OMENDB_FAULTS_BINARY")
    return str(path)


class DyingServer:
    """One life of the server; `fault` is "point:n" or None, `armed_by` a file without which no pass
    counts, `sync_ms` how much longer a sync takes, or "off". `serving` is False if it died while it
    replayed its log."""

    alive: list["DyingServer"] = []

    def __init__(self, directory, fault=None, armed_by=None, flags=FLAGS, sync_ms=None):
        kept = {key: value for key, value in os.environ.items() if not key.startswith("OMENDB_")}
        command = [binary(), "--data-dir", str(directory), "--grpc-port", "0", "--http-port", "off",
                   *flags]
        kept |= {"OMENDB_FAULT_KILL": fault} if fault else {}
        kept |= {"OMENDB_FAULT_SYNC_MS": sync_ms} if sync_ms else {}
        kept |= {"OMENDB_FAULT_ARMED_BY": str(armed_by)} if armed_by else {}
        self.process = subprocess.Popen(command, env=kept, stderr=subprocess.PIPE, text=True)
        self.alive.append(self)
        self.serving = False
        self.target = None
        self.lines = []
        self._reader = threading.Thread(target=self._read_on, daemon=True)
        overdue = threading.Timer(START_SECONDS, self.process.kill)
        overdue.start()
        for line in self.process.stderr:
            self.lines.append(line)
            started = re.search(r" INFO serving .*\bport=(\d+)", line)
            if started:
                self.serving = True
                self.target = f"127.0.0.1:{started[1]}"
                break
        overdue.cancel()
        self._reader.start()

    def _read_on(self):
        self.lines += list(self.process.stderr)

    def end(self, dead=False):
        """Kills it, unless it is `dead` already: then it must have died by its own hand."""
        if dead:
            self.process.wait(timeout=START_SECONDS)
        else:
            self.process.kill()
        status = self.process.wait()
        self._reader.join()
        self.alive.remove(self)
        assert status == -signal.SIGKILL, f"status {status}:\n" + "".join(self.lines)
        self.process.stderr.close()
