"""A progress bar on a terminal, a line every ten per cent elsewhere."""
from __future__ import annotations

import sys
import time

from omendb_client import Progress

_WIDTH = 30
_REDRAW_SECONDS = 0.1


class ProgressBar:
    """Give it to Client.insert(progress=...). Also notes when the last row was durable and when
    searchable, in seconds since it was made; without a label it does only that."""

    def __init__(self, label: str = "") -> None:
        self._label = label
        self._begin = time.perf_counter()
        self._drawn = 0.0
        self._tenth = 0
        self._finished = False
        self._terminal = sys.stdout.isatty()
        self.durable_seconds: float | None = None
        self.searchable_seconds: float | None = None

    def __call__(self, state: Progress) -> None:
        now = time.perf_counter() - self._begin
        if state.durable == state.total and self.durable_seconds is None:
            self.durable_seconds = now
        finished = state.searchable == state.total
        if finished and self.searchable_seconds is None:
            self.searchable_seconds = now
        if not self._label or self._finished:
            return
        self._finished = finished
        if self._terminal:
            if finished or now - self._drawn >= _REDRAW_SECONDS:
                self._drawn = now
                self._draw(state, finished)
        elif state.total and state.searchable * 10 // state.total > self._tenth:
            self._tenth = state.searchable * 10 // state.total
            print(f"  {self._label}: {self._tenth * 10:3d} % searchable after {now:.1f} s",
                  flush=True)

    def _draw(self, state: Progress, finished: bool) -> None:
        done = state.searchable / state.total if state.total else 1.0
        durable = state.durable / state.total if state.total else 1.0
        filled = "".join(
            "#" if cell < done * _WIDTH else "-" if cell < durable * _WIDTH else " "
            for cell in range(_WIDTH))
        print(f"\r  {self._label} [{filled}] {state.searchable:,} of {state.total:,} searchable",
              end="\n" if finished else "", flush=True)
