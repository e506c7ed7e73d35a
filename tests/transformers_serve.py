"""`transformers serve` as it is, but for its processor: the stock one needs torchvision.

python -m tests.transformers_serve --port 8123 --device cpu FOLDER
"""

from __future__ import annotations

import sys
from typing import Any

from transformers import AutoProcessor
from transformers.cli.transformers import main

from bot.engines.local.loading import image_only_processor


def from_pretrained(name: str, **options: Any) -> Any:
    return image_only_processor().from_pretrained(name, **options, backend="pil")


if __name__ == "__main__":
    AutoProcessor.from_pretrained = from_pretrained
    sys.argv = ["transformers", "serve", *sys.argv[1:]]
    main()
