"""What makes an answer besides the model: photos, OCR, prompts, the guard."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from pathlib import Path

from bot.cli.parts.standing import Asked, Standing, standing_of
from bot.errors import BadConfiguration

TEST_PHOTO = Path(__file__).parent / "check.png"
TEST_CODE = "E4"


async def photos(_: Asked) -> Standing:
    """Whether a test photo is taken in."""
    from context.photos import Intake, Photos  # noqa: PLC0415 - starts a helper process
    from context.turns import Rejection  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        photos = Photos(Path(folder), intake=Intake(at_once=1))
        await photos.start()
        try:
            taken = await photos.take_in(TEST_PHOTO.read_bytes())
        finally:
            await photos.close()
    if isinstance(taken, Rejection):
        return Standing("fail", f"a test photo was refused: {taken.code} {taken.detail}".strip())
    return Standing("ok", f"a test photo was taken in at {taken.width} x {taken.height}")


async def ocr(_: Asked) -> Standing:
    """Whether the code on a test photo is read."""
    from bot.engines.ocr import Ocr, OcrUnavailable  # noqa: PLC0415

    ocr = Ocr()
    try:
        lines = await ocr.read(
            TEST_PHOTO.read_bytes(), enough=lambda lines: TEST_CODE in {line.text for line in lines}
        )
    except OcrUnavailable as error:
        return Standing(
            "fail", str(error), f"{sys.executable} -m pip install --force-reinstall rapidocr onnxruntime"
        )
    finally:
        await ocr.close()
    texts = [line.text for line in lines]
    if TEST_CODE not in texts:
        return Standing("fail", f"read {texts} on a test photo that shows {TEST_CODE}")
    return Standing("ok", f"read {TEST_CODE} on a test photo")


async def prompts(asked: Asked) -> Standing:
    """Whether templates, house styles and rules are correct."""
    from bot.company import read_company  # noqa: PLC0415 - jinja2
    from bot.engines.rules import lint_rules  # noqa: PLC0415 - yaml
    from prompts.house_styles import HouseStyles  # noqa: PLC0415 - jinja2
    from prompts.prompts import Prompts  # noqa: PLC0415

    company = ""
    with contextlib.suppress(BadConfiguration):  # that is said of the company
        company = await asyncio.to_thread(read_company, asked.settings.data_dir)
    prompts = Prompts(company=company, context_tokens=asked.settings.context_tokens)
    styles = HouseStyles()
    if problems := prompts.lint() + styles.lint() + lint_rules():
        return Standing("fail", "; ".join(problems), "the templates or rules named")
    return Standing("ok", f"{prompts.version}, {len(styles.names)} house styles")


async def guard(asked: Asked) -> Standing:
    """The guard's policy, and its model if there is one."""
    from bot.app.guard import build_guard  # noqa: PLC0415 - imports the whole bot

    guard = build_guard(asked.settings)
    try:
        return standing_of(await guard.health(), "the policy's files")
    finally:
        await guard.close()
