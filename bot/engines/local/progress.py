"""Progress of a start: the libraries' own progress bars, reported as stage and fraction."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Self

from transformers.utils import logging as bars

OnProgress = Callable[[str, float], None]
"""Called with the stage (`files`, `loading weights`, ...) and how much of it is done, 0 to 1."""

STEPS = 20
"""A stage is reported so many times at most."""


@contextlib.contextmanager
def reported(on_progress: OnProgress) -> Iterator[None]:
    """Report every progress bar of transformers (download, loading weights) until the end of the block."""

    def hook(factory: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        stage = str(kwargs.get("desc") or "files").lower()
        bar = factory(*args, **{**kwargs, "disable": True})
        total = kwargs.get("total") or (len(args[0]) if args and hasattr(args[0], "__len__") else 0)
        return _Reported(bar, args[0] if args else (), stage, total, on_progress)

    bars.set_tqdm_hook(hook)
    try:
        yield
    finally:
        bars.set_tqdm_hook(None)


class _Reported:
    """Used like a progress bar: passes everything on, and reports how far it is."""

    def __init__(self, bar: Any, items: Any, stage: str, total: int, on_progress: OnProgress) -> None:
        self._bar, self._items, self._stage, self._total = bar, items, stage, total
        self._on_progress = on_progress
        self._done = 0

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            yield item
            self.update(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bar, name)

    def update(self, count: int = 1) -> None:
        before, self._done = self._done, self._done + count
        if self._total and before * STEPS // self._total != self._done * STEPS // self._total:
            self._on_progress(self._stage, min(1.0, self._done / self._total))
