"""`MODEL=demo`: a toy that really reads photos, for trying the bot without a GPU.

The same architecture as Qwen3-VL with some 2.5 million weights, trained from scratch by `train.py`
on drawn indicator lights.  It knows four colours, steady or blinking, and nothing about any
product: it proves that the right photo of the right chat reaches the model, not that advice is good.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "weights"


def resolve(model: str) -> str:
    """The folder of the demo model for `demo`; other names as they are, with `~` spelt out."""
    if model == "demo":
        return str(FOLDER)
    return str(Path(model).expanduser()) if model.startswith("~") else model
