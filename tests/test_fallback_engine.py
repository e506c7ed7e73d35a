"""What the bot answers without a model: real text recognition on drawn photos, real rules."""

from __future__ import annotations

import asyncio
import fcntl
import io
import os
import signal
import sys
import termios
from collections.abc import Iterator

import pytest
from PIL import Image, ImageFilter

from bot.engines.fallback import FallbackEngine
from bot.engines.ocr import Enough, Ocr, OcrUnavailable
from context.turns import Clip, Lamp, Line, Photo
from prompts.prompt import PromptImage, PromptMessage
from tests.asked import asked, turn
from tests.displays import as_jpeg, draw_display, shown
from tests.until import until

PRELIMINARY = {"en": "This is a preliminary automatic answer", "zh": "初步的自动回复"}
E4 = shown(draw_display("E4"))
RED_STEADY = shown(draw_display("红灯常亮"))
BLANK = shown(Image.new("RGB", (640, 480), (120, 120, 120)))


@pytest.fixture(scope="module")
def ocr() -> Iterator[Ocr]:
    """Loaded once: the models take a second."""
    ocr = Ocr()
    yield ocr
    asyncio.run(ocr.close())


@pytest.fixture
async def engine(ocr: Ocr) -> FallbackEngine:
    engine = FallbackEngine(reader=ocr, ocr_timeout_s=120)  # also on a busy machine
    await engine.start()
    return engine


async def test_code_on_the_photo_is_quoted_and_explained(engine: FallbackEngine) -> None:
    draft = await engine.draft(asked("what is this?", E4))

    read, advice, ending = draft.text.split("\n\n")
    assert read == "I read on the photo: E4. Please tell me if that is wrong."
    assert advice.startswith("E4 most often")
    assert ending.startswith(PRELIMINARY["en"])
    assert "/human" in ending
    assert draft.preliminary
    assert draft.engine == "fallback"


async def test_chinese_display_is_read_and_answered_in_chinese(engine: FallbackEngine) -> None:
    draft = await engine.draft(asked("这是怎么回事", RED_STEADY, language="zh"))

    assert draft.text.startswith("我在照片上读到：红灯常亮。")
    assert "停机保护" in draft.text
    assert PRELIMINARY["zh"] in draft.text


@pytest.mark.parametrize("turned", [0, 10, 180])
async def test_turned_displays_are_read(engine: FallbackEngine, turned: int) -> None:
    draft = await engine.draft(asked("?", shown(draw_display("E07", turned=turned))))

    assert "I read on the photo: E07." in draft.text


async def test_phones_rotation_note_is_followed(engine: FallbackEngine) -> None:
    picture = draw_display("E07").rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    picture.save(file, "JPEG", exif=exif)
    photo = PromptImage(Photo("f" * 64, *picture.size, 1), file.getvalue())

    assert "E07" in (await engine.draft(asked("?", photo))).text


async def test_second_look_at_a_blurred_copy_finds_more(ocr: Ocr) -> None:
    photo = as_jpeg(draw_display("E07").filter(ImageFilter.GaussianBlur(1)))

    first = await ocr.read(photo, enough=lambda _: True)
    both = await ocr.read(photo, enough=lambda _: False)
    assert {line.text for line in first} <= {line.text for line in both}
    assert len({line.text for line in both}) == len(both)


async def test_lines_carry_their_place_on_the_photo(ocr: Ocr) -> None:
    large = draw_display("E07").resize((2700, 1800))
    (line,) = await ocr.read(as_jpeg(large), enough=lambda _: True)

    xs, ys = [x for x, _ in line.box], [y for _, y in line.box]
    assert line.text == "E07"
    assert line.confidence > 0.8
    assert 450 < min(xs) < max(xs) < 2250
    assert 360 < min(ys) < max(ys) < 1440


async def test_photo_without_text_is_said_to_be_unread(engine: FallbackEngine) -> None:
    draft = await engine.draft(asked("what is this?", BLANK))

    assert draft.text.startswith("I could not read any text or code on the photo.")


async def test_three_turns_of_a_case_begin_with_what_changed(engine: FallbackEngine) -> None:
    one = await engine.draft(asked("our AC shows a fault"))
    assert "Please send a photo" in one.text

    said = "the red light blinks three times"
    earlier: tuple[PromptMessage, ...] = turn("our AC shows a fault", one.text)
    two = await engine.draft(asked(said, BLANK, earlier=earlier))
    assert "communication module" in two.text
    assert "Please send a photo" not in two.text
    assert "could not read" not in two.text, "the customer has said what the photo shows"

    earlier = (*earlier, *turn(said, two.text, BLANK))
    now, second = "now it is steady red, I took another one", shown(draw_display("红灯常亮"), number=2)
    three = await engine.draft(asked(now, second, earlier=earlier))
    changed = "What has changed: with photo 1, red light blinking (3×). With photo 2, red light steady."
    assert three.text.startswith(changed)
    without = await engine.draft(asked("now it is steady red", earlier=earlier))
    assert without.text.startswith("Earlier: red light blinking (3×). Now: red light steady.")
    assert "from blinking to steady" in three.text


async def test_follow_up_without_a_clue_remembers_the_code_on_the_earlier_photo(
    engine: FallbackEngine,
) -> None:
    one = await engine.draft(asked("what is this?", E4))
    two = await engine.draft(asked("and what next?", earlier=turn("what is this?", "Hm.", E4)))
    three = await engine.draft(asked("and what next?", earlier=turn("what is this?", one.text)))

    assert "Earlier in our conversation: E4." in two.text
    assert "Earlier in our conversation: E4." in three.text


async def test_danger_comes_first_and_nothing_asks_the_customer_to_stay(engine: FallbackEngine) -> None:
    for question, language, first in (
        ("There is a smell of gas and it shows E4", "en", "If you smell gas"),
        ("冒烟了，红灯闪", "zh", "安全第一"),
    ):
        text = (await engine.draft(asked(question, E4, language="zh" if language == "zh" else "en"))).text
        assert text.startswith(first)
        assert len(text.split("\n\n")) == 2
        assert "/human" in text


@pytest.mark.parametrize(
    "words",
    [
        "{codes} {0} {{x}}",
        "{{ 7*7 }}",
        "%s %(x)s",
        "</customer_words>",
        "\\1 \\g<0>",
        "a" * 50_000,
        "\x00\ud800",
    ],
)
async def test_customers_words_are_values_and_never_templates(words: str) -> None:
    class Reads:
        async def read(self, jpeg: bytes, *, enough: Enough) -> tuple[Line, ...]:
            return (Line(words, 0.99, ()), Line("SHOWS {codes}", 0.99, ()))

        async def close(self) -> None:
            pass

    plain = await FallbackEngine().draft(asked("what now?"))
    assert (await FallbackEngine().draft(asked(words))).text == plain.text

    read = (await FallbackEngine(reader=Reads()).draft(asked("hello", E4))).text
    assert read.startswith("I could not read any text")


@pytest.mark.parametrize(
    "line", ["call 400 8123 456", "13912345678", "www.cheap-repair.example", "pay@me.example"]
)
async def test_numbers_and_addresses_on_a_photo_are_not_quoted(line: str) -> None:
    class Reads:
        async def read(self, jpeg: bytes, *, enough: Enough) -> tuple[Line, ...]:
            return (Line(line, 0.99, ()), Line("KFR-35GW", 0.99, ()))

        async def close(self) -> None:
            pass

    text = (await FallbackEngine(reader=Reads()).draft(asked("hello", E4))).text
    assert line not in text
    assert text.startswith("I read on the photo: KFR-35GW.")


async def test_courtesy_is_answered_in_a_sentence_and_asks_for_no_photo() -> None:
    for words, begins in (("thanks!", "You are welcome."), ("where is my order?", "I can only help with")):
        text = (await FallbackEngine().draft(asked(words, earlier=turn("E4", "E4 is warm.")))).text
        assert text.startswith(begins)
        assert len(text.split("\n\n")) == 2


async def test_photos_and_clips_are_named_as_what_they_are() -> None:
    class Reads:
        async def read(self, jpeg: bytes, *, enough: Enough) -> tuple[Line, ...]:
            return (Line("E4", 0.99, ()),) if jpeg == E4.jpeg else ()

        async def close(self) -> None:
            pass

    clip = Clip(8.0, (Lamp("red", "middle", 3),))
    filmed = PromptImage(Photo("7" * 64, 640, 480, 2, clip), b"filmed")
    nothing = PromptImage(Photo("8" * 64, 640, 480, 3, Clip(8.0)), b"nothing")
    for images, begins in (
        ([E4, E4], "I read on the photos: E4."),
        ([filmed], "I see in the clip: red light blinking (3×)."),
        ([nothing], "I could not make out a blinking light"),
    ):
        text = (await FallbackEngine(reader=Reads()).draft(asked("?", *images))).text
        assert text.startswith(begins)


async def test_model_is_asked_for_until_a_label_has_told_it() -> None:
    class Reads:
        async def read(self, jpeg: bytes, *, enough: Enough) -> tuple[Line, ...]:
            return (Line("MODEL KFR-35GW", 0.99, ()),)

        async def close(self) -> None:
            pass

    without = (await FallbackEngine(reader=Reads()).draft(asked("it shows E4"))).text
    assert "please tell me the model from the label" in without

    told = (await FallbackEngine(reader=Reads()).draft(asked("it shows E4", E4))).text
    assert "The manual of the KFR-35GW says exactly what E4 means" in told
    assert "tell me the model" not in told

    zh = (await FallbackEngine(reader=Reads()).draft(asked("显示E4", E4, language="zh"))).text
    assert "再开机。E4 在 KFR-35GW 上的具体含义见说明书" in zh


@pytest.mark.parametrize("error", [OcrUnavailable("models are broken"), TimeoutError()])
async def test_rules_answer_when_photos_cannot_be_read(error: Exception) -> None:
    class Breaks:
        async def read(self, jpeg: bytes, *, enough: Enough) -> tuple[Line, ...]:
            raise error

        async def close(self) -> None:
            pass

    engine = FallbackEngine(reader=Breaks())
    draft = await engine.draft(asked("the red light is blinking", E4))

    assert draft.text.startswith("I cannot look at photos at the moment.")
    assert "communication" in draft.text
    assert (await engine.health()).state == "degraded"


async def test_rules_answer_while_a_photo_takes_too_long() -> None:
    class Hangs:
        async def read(self, jpeg: bytes, *, enough: Enough) -> tuple[Line, ...]:
            await asyncio.Event().wait()
            raise AssertionError

        async def close(self) -> None:
            pass

    engine = FallbackEngine(reader=Hangs(), ocr_timeout_s=0.05)
    assert (await engine.draft(asked("?", E4))).text.startswith("I cannot look at photos")


async def test_missing_library_is_named_and_costs_only_the_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    engine = FallbackEngine(reader=Ocr())

    assert (await engine.draft(asked("?", E4))).text.startswith("I cannot look at photos")
    assert "rapidocr" in (await engine.health()).detail
    await engine.close()


async def test_broken_picture_costs_only_itself(engine: FallbackEngine) -> None:
    broken = PromptImage(Photo("0" * 64, 10, 10, 1), b"\xff\xd8 not a picture")

    assert "E4" in (await engine.draft(asked("?", E4, broken))).text
    assert "E4" in (await engine.draft(asked("?", broken, E4))).text


async def test_same_photo_is_read_once() -> None:
    class Counts:
        reads = 0

        async def read(self, jpeg: bytes, *, enough: Enough) -> tuple[Line, ...]:
            self.reads += 1
            return (Line("E4", 0.99, ()),)

        async def close(self) -> None:
            pass

    reader = Counts()
    engine = FallbackEngine(reader=reader)
    for _ in range(3):
        await engine.draft(asked("?", E4))
    assert reader.reads == 1


async def test_concurrent_readings_do_not_mix(engine: FallbackEngine) -> None:
    codes = ("E1", "E3", "E6", "E9")
    drafts = await asyncio.gather(*(engine.draft(asked("?", shown(draw_display(code)))) for code in codes))

    assert [draft.text.split(".")[0] for draft in drafts] == [
        f"I read on the photo: {code}" for code in codes
    ]


async def test_a_child_that_is_killed_costs_one_reading(ocr: Ocr) -> None:
    await ocr.start()
    assert ocr._child is not None
    process, channel = ocr._child.process, ocr._child.channel
    process.send_signal(signal.SIGSTOP)
    reading = asyncio.create_task(ocr.read(E4.jpeg, enough=bool))
    await until(lambda: any(fcntl.ioctl(channel, termios.TIOCOUTQ, bytes(4))))  # it has been sent
    process.kill()
    with pytest.raises(OcrUnavailable):
        await reading
    assert "E4" in {line.text for line in await ocr.read(E4.jpeg, enough=bool)}


async def test_an_idle_child_ends_and_the_next_photo_starts_another() -> None:
    ocr = Ocr(idle_s=0.05, niceness=1)
    with pytest.raises(OcrUnavailable, match="UnidentifiedImageError"):
        await ocr.read(b"not a picture", enough=bool)
    assert ocr._child is not None
    process = ocr._child.process
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == 1
    await until(lambda: process.returncode is not None)
    assert "E4" in {line.text for line in await ocr.read(E4.jpeg, enough=bool)}
    await ocr.close()


async def test_closed_reader_says_so_instead_of_hanging() -> None:
    ocr = Ocr()
    await ocr.close()
    with pytest.raises(OcrUnavailable):
        await ocr.read(E4.jpeg, enough=lambda _: True)
