"""`python -m bot prompts`: what an editor sees of a template, and of the model's answer to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.__main__ import main
from bot.settings import NAMES
from context.turns import Language
from prompts.house_styles import HouseStyles
from tests.in_thread import Served
from tests.model_server import ModelServer
from tests.world import picture

STYLES = HouseStyles().names


@pytest.fixture(autouse=True)
def fresh_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    Path("red.jpg").write_bytes(picture((200, 20, 20)))


def test_the_list_names_every_template_with_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("@")[0] for line in lines] == ["support", *STYLES]
    assert "无障碍：桌上有什么？" in "".join(lines)


def test_lint_looks_at_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "lint"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(STYLES)


@pytest.mark.parametrize(("lang", "words"), [("zh", "图片如上"), ("en", "This is the picture")])
@pytest.mark.parametrize("name", STYLES)
def test_a_preview_shows_the_prompt(
    name: str, lang: Language, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prompts", "preview", name, "--lang", lang]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"--- {HouseStyles().version(name)}\n--- system\n")
    assert words in shown
    assert not Path("data").exists()


def test_a_preview_with_a_picture_shows_what_becomes_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "preview", "food", "red.jpg"]) == 0
    assert "--- user\n[picture, 320 x 240]\n" in capsys.readouterr().out


def test_a_preview_of_a_customers_question(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "preview", "support", "red.jpg", "--text", "红灯亮了"]) == 0
    shown = capsys.readouterr().out
    assert "以上照片依次为：照片1\n[照片1：经测量模糊；" in shown  # one even red: nothing on it is sharp
    assert "\n<customer_words>\n红灯亮了" in shown


def test_a_template_that_there_is_not_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "preview", "foood"]) == 2
    assert "no template foood; there are support, accessibility" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "why"), [("gone.jpg", "No such file"), ("notes.txt", "not_a_picture")])
def test_a_picture_that_cannot_be_used_says_why(
    name: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("notes.txt").write_text("buy milk")
    assert main(["prompts", "preview", "food", name]) == 1
    assert why in capsys.readouterr().err


def test_an_answer_comes_from_the_model_by_way_of_the_guard(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"text": "A red card on a table."}
    with Served(ModelServer(answer=lambda _: said["text"])) as server:
        monkeypatch.setenv("MODEL_URL", server.url)
        assert main(["prompts", "preview", "product_plain", "red.jpg", "--answer"]) == 0
        assert "--- remote\nA red card on a table.\n" in capsys.readouterr().out
        said["text"] = "We refund the full price, guaranteed."
        assert main(["prompts", "preview", "product_plain", "red.jpg", "--answer"]) == 1
        shown = capsys.readouterr().out
    assert "refund the full price" not in shown
    assert "--- notice:held" in shown


def test_an_answer_needs_a_model_and_a_picture(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "preview", "food", "--answer"]) in {2, 78}
    assert main(["prompts", "preview", "food", "red.jpg", "--answer"]) == 78
    assert "MODEL_URL" in capsys.readouterr().err
