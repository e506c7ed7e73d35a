"""Intake: turns a stranger's file into a clean upright JPEG, or the code of a refusal.

`client.Intake` is the interface.  It keeps one small helper process (`zygote`), which forks a child
with limits for every picture; the child strips the file to its pixel data (`formats`) and
normalises it (`normalise`).  The helper imports Pillow and the standard library, never the bot.
"""
