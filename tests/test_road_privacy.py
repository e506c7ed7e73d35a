"""What should never be kept is not kept: it reaches no row, no prompt and no log."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.model_server import text_of
from tests.world import world

CARD = "4111 1111 1111 1111"
MOBILE = "13812345678"
TOKEN = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1"
SERIAL = "8K2207M119400345"


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_card_phone_and_token_are_masked_everywhere_and_serial_numbers_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    keys: dict[str, Any] = {"model_api_key": "sk-model-5f2c8d1e90ab", "api_keys": "sk-app-77aa33bb99cc00dd"}
    async with world(tmp_path, **keys) as w:
        customer = w.telegram.customer(1)
        customer.says(f"c1t0 card {CARD}, call {MOBILE}, {TOKEN}, serial {SERIAL}")
        await w.telegram.replies(1)
        prompt = w.model.requests[-1].text
        assert SERIAL in prompt
        assert "[card]" in prompt
        for secret in (CARD, MOBILE, TOKEN):
            assert secret not in prompt
            assert secret not in caplog.text
        system = text_of(w.model.requests[-1].messages[0])
        (canary,) = re.findall(r"\b[0-9a-f]{12}\b", system)
        assert not [own for own in (*keys.values(), w.telegram.token, canary) if own in caplog.text]
    kept = everything_in(tmp_path)
    assert SERIAL.encode() in kept
    for secret in (CARD, MOBILE, TOKEN):
        assert secret.encode() not in kept
