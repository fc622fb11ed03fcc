"""A TCP proxy that breaks connections after given numbers of bytes, or stops passing them on."""
from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

_BLOCK = 1 << 14
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() resets


class Proxy:
    """Passes connections on to `port`. `cuts` are byte counts: the first connection that a cut
    falls on is broken when so many bytes, both ways together, went through since the last cut; when
    they are used up, nothing is cut any more. Every second cut is a reset."""

    def __init__(self, port: int, cuts: list[int] | None = None) -> None:
        self._port = port
        self._cuts: Iterator[int] = iter(cuts or [])
        self._lock = threading.Lock()
        self._left = next(self._cuts, None)
        self.cut_count = 0
        self._flows = threading.Event()
        self._flows.set()
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.target = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        """From now on bytes stay here: for both sides the other is silent, and not gone."""
        self._flows.clear()

    def thaw(self) -> None:
        self._flows.set()

    def close(self) -> None:
        self._flows.set()
        self._listener.close()
        with self._lock:
            for connection in list(self._sockets):
                _shut(connection)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            try:
                server = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                client.close()  # nobody there: the same to the client
                continue
            with self._lock:
                self._sockets |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while block := source.recv(_BLOCK):
                self._flows.wait()
                allowed = self._take(len(block))
                sink.sendall(block[:allowed])
                if allowed < len(block):
                    if self.cut_count % 2 == 0:
                        source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                        sink.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    break
        except OSError:
            pass  # the other direction has broken it
        for connection in (source, sink):
            _shut(connection)
        with self._lock:
            self._sockets -= {source, sink}

    def _take(self, count: int) -> int:
        """How many of so many bytes may go through; fewer means: break the connection."""
        with self._lock:
            if self._left is None or count < self._left:
                self._left = None if self._left is None else self._left - count
                return count
            allowed, self._left = self._left - 1, next(self._cuts, None)
            self.cut_count += 1
            return allowed


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)  # wakes the other direction's recv()
    except OSError:
        pass
    connection.close()
