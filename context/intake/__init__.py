"""Intake: a stranger's file goes in, a clean upright JPEG or the code of a refusal comes out.

`client.Intake` is the door.  It keeps one small helper process (`zygote`), which forks a child
with limits for every picture; the child strips the file to what draws pixels (`formats`) and
normalises it (`normalise`).  The helper imports Pillow and the standard library, never the bot.
"""
