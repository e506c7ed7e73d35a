"""Shares: which prompts are read in a step, in which order, and how many tokens of each."""

from __future__ import annotations

OVERTAKEN_S = 0.001
"""A prompt of 2,000 tokens is overtaken only by shorter ones that arrive within two seconds after it.
Otherwise short questions (follow-ups of chats whose beginning is cached) would wait for every new photo."""


def turn_of(asked: float, left: int) -> float:
    """When a prompt is to be read, on the clock (seconds) of `asked`: with fewer tokens left, sooner.

    Nobody waits for ever: who asks `left * OVERTAKEN_S` seconds later, or after that, is behind.
    """
    return asked + left * OVERTAKEN_S


def shares(left: list[int], piece: int, least: int) -> list[int]:
    """How many tokens each of the first prompts reads in one step, of those that each has left.

    About a piece together.  Each prompt is a run of the model, which costs as much as `least` tokens
    however short it is: a prompt that is so close to its end reads to it, and none begins with less.
    """
    budget, chosen = piece, list[int]()
    for tokens in left:
        if chosen and budget < least:
            break
        chosen.append(tokens if tokens < budget + least else budget)
        budget -= max(chosen[-1], least)
    return chosen
