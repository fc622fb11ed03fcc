"""Short ways to say what a test asks of the HTTP port."""
from __future__ import annotations

import contextlib
import http.client
import json
import socket

TIMEOUT_S = 60


class Answer:
    """Status, headers and body; `.json` where it is JSON."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.text = response.read().decode()
        self.type = response.headers.get("Content-Type", "")
        self.json = json.loads(self.text) if self.type == "application/json" and self.text else None

    @property
    def error(self) -> dict:
        return self.json["error"]

    def __repr__(self) -> str:
        return f"{self.status} {self.text[:300]}"


class Http:
    """One connection, kept open from request to request."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)

    def ask(self, method: str, path: str, body=None, **headers) -> Answer:
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        self.connection.request(method, path, body, headers)
        return Answer(self.connection.getresponse())

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def post(self, path: str, body) -> Answer:
        return self.ask("POST", path, body)

    def create(self, name: str, dim: int = 2, metric="l2", **config) -> dict:
        answer = self.post("/v1/collections", {"name": name, "config": {
            "dim": dim, "metric": metric, **config}})
        assert answer.status == 200, answer
        return answer.json

    def insert(self, name: str, rows: dict, **fields) -> dict:
        answer = self.post(f"/v1/collections/{name}/insert", {
            "points": [{"id": num, "vector": list(row)} for num, row in rows.items()], **fields})
        assert answer.status == 200, answer
        return answer.json

    def search(self, name: str, *queries, **fields) -> dict:
        answer = self.post(f"/v1/collections/{name}/search", {
            "queries": [{"vector": list(query)} for query in queries], **fields})
        assert answer.status == 200, answer
        return answer.json

    def ids(self, name: str, *query: float, **fields) -> list:
        return [hit["id"] for hit in self.search(name, query, **fields)["results"][0]["hits"]]

    def close(self) -> None:
        self.connection.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace) -> None:
        self.close()


def metrics(http: Http) -> dict:
    """Sample -> value, of the whole page."""
    answer = http.get("/metrics")
    assert answer.status == 200, answer
    lines = [line for line in answer.text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def raw(port: int, data: bytes, wait: bool = True) -> bytes:
    """Sends bytes that no HTTP library would; what comes back up to the connection's end."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while wait and (piece := connection.recv(65536)):
                received += piece
    return received
