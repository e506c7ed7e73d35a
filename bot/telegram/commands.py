"""The commands that Telegram shows in its menu, in the customer's language."""

from __future__ import annotations

from context.turns import Language

COMMANDS: dict[Language, tuple[tuple[str, str], ...]] = {
    "en": (
        ("start", "What I can do"),
        ("help", "How to ask, with or without a photo"),
        ("reset", "Start a new case"),
        ("human", "Talk to a person"),
        ("language", "中文 / English"),
        ("privacy", "What is stored, and who can see it"),
        ("forgetme", "Erase all my data"),
    ),
    "zh": (
        ("start", "我能做什么"),
        ("help", "如何提问（可附照片）"),
        ("reset", "开始新的问题"),
        ("human", "转人工客服"),
        ("language", "中文 / English"),
        ("privacy", "保存哪些内容、谁能看到"),
        ("forgetme", "删除我的全部内容"),
    ),
}
"""`privacy` is also what Telegram's own "Privacy policy" button on the bot's profile calls."""
