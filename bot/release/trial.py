"""Gray releases: a candidate (model, templates or policy) answers a share of the chats.

A `Trial` takes the place of the `Answerer` in a turn.  Questions that do not come from a customer's chat
(apps, jobs) are answered by the current version, or by the candidate once it is promoted.  A chat stays with
its arm while a release runs, and every reply's record names release and arm.  One process at a time counts
what became of the turns (`context.releases`) and stops a candidate that is worse (`bot.release.evidence`);
the others follow within seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace

from bot.answerer import Answerer
from bot.errors import BadConfiguration, Unavailable
from bot.release.evidence import LOOK_EVERY, Finding, Share, worse
from bot.reveal import OnWords
from bot.stages import Stages
from context.db import StoreDown
from context.duties import Duties
from context.health import Health
from context.releases import MEASURES, Arm, Release, Releases, Tally
from context.turns import Message, Reply, Turn

log = logging.getLogger(__name__)

EVERY_S = 5.0
"""Time between two reads of the release; a withdrawn candidate answers nothing after it."""
DUTY = "counting a release"
DUTY_S = 20.0
DRAIN_S = 150.0
"""Time for running answers to finish: longer than the default time limit of a model."""


Open = Callable[[Release], AbstractAsyncContextManager[Answerer]]
"""Builds a candidate, and closes it when the block ends.  Raises BadConfiguration or Unavailable if it cannot
be built."""
Tell = Callable[[str], Awaitable[None]]
Named = Mapping[str, object]
"""What a reply's record says of the release that it comes from; empty where there is none."""


class Trial:
    """Answers with the current version or with the candidate, depending on the chat."""

    def __init__(
        self,
        stable: Answerer,
        *,
        releases: Releases,
        duties: Duties,
        me: str,
        open_candidate: Open,
        tell: Tell,
    ) -> None:
        """`tell` sends staff one line, in English, when a candidate was stopped."""
        self._stable = stable
        self._releases = releases
        self._duties = duties
        self._me = me
        self._open = open_candidate
        self._tell = tell
        self._release: Release | None = None
        self._lane: _Lane | None = None
        self._retiring: set[asyncio.Task[None]] = set()

    async def answer(
        self, message: Message, turns: Sequence[Turn], stages: Stages, *, show: OnWords | None = None
    ) -> Reply:
        """The answer of the arm to which this chat belongs."""
        release, lane = self._release, self._lane
        if release is None or lane is None:
            return await self._stable.answer(message, turns, stages, show=show)
        arm = release.arm_of(message.chat)
        if arm == "candidate":
            with lane.at_work() as candidate:
                reply = await candidate.answer(message, turns, stages, show=show)
        else:
            reply = await self._stable.answer(message, turns, stages, show=show)
        return replace(reply, record={**reply.record, **_named(release, arm)})

    @contextlib.contextmanager
    def in_force(self) -> Iterator[tuple[Answerer, Named]]:
        """A promoted candidate with its name, else what the settings say: for whom nothing is tried."""
        release, lane = self._release, self._lane
        if release is None or lane is None or release.state != "promoted":
            yield self._stable, {}
            return
        with lane.at_work() as promoted:
            yield promoted, _named(release, "candidate")

    def instead(self, name: str, message: Message) -> Reply:
        """Fixed words are the same in both arms."""
        return self._stable.instead(name, message)

    async def close(self) -> None:
        """Close the candidate.  Calling it twice is harmless."""
        self._adopt(None, None)
        if self._retiring:
            await asyncio.wait(self._retiring, timeout=1.0)
        for retiring in self._retiring:
            retiring.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)

    def health(self) -> Health:
        """Which release is running, if any."""
        release = self._release
        if release is None:
            return Health("ok", "no release is running")
        share = "every chat" if release.state == "promoted" else f"{release.share:.0%} of the chats"
        return Health("ok", f"{release.name} ({release.state}) answers {share}")

    async def run(self) -> None:
        """Follow the current release until cancelled.

        While a candidate is being started, its chats are answered by the current version.
        """
        while True:
            try:
                await self.follow()
            except (StoreDown, TimeoutError) as error:
                log.warning("releases cannot be read: %s", type(error).__name__)
            await asyncio.sleep(EVERY_S)

    async def follow(self) -> None:
        """Look once: adopt changes; with the duty also count, and stop a candidate that is worse."""
        release = await self._releases.current()
        if release is None:
            self._adopt(None, None)
            return
        if self._release is None or self._release.id != release.id:
            self._adopt(None, None)
            lane = await self._begin(release)
            if lane is None:
                return
            self._adopt(release, lane)
        self._release = release
        if release.state == "running" and await self._is_on_duty():
            try:
                await self._look(release)
            except (StoreDown, TimeoutError):
                raise
            except Exception as error:  # a candidate that nobody counts must not go on answering
                await self._stop(release, f"it cannot be counted: {type(error).__name__}")
                raise

    async def _begin(self, release: Release) -> _Lane | None:
        lane = _Lane()
        try:
            await lane.open(self._open(release))
        except (BadConfiguration, Unavailable) as error:
            await self._stop(release, f"it cannot be had: {error}")
            return None
        log.info("release %s: a candidate answers %.0f %% of the chats", release.name, 100 * release.share)
        return lane

    def _adopt(self, release: Release | None, lane: _Lane | None) -> None:
        old, self._release, self._lane = self._lane, release, lane
        if old is not None:
            retiring = asyncio.create_task(old.retire(), name="retire a candidate")
            self._retiring.add(retiring)
            retiring.add_done_callback(self._retiring.discard)

    async def _is_on_duty(self) -> bool:
        return await self._duties.take(DUTY, self._me, seconds=DUTY_S) == self._me

    async def _look(self, release: Release) -> None:
        arms = await self._releases.count(release)
        look = arms["candidate"].chats // LOOK_EVERY
        if look <= release.looks or not await self._releases.looked(release.id, release.looks + 1):
            return
        finding = worse(release.looks + 1, shares(arms))
        if finding is not None:
            await self._stop(release, sentence(finding))

    async def _stop(self, release: Release, reason: str) -> None:
        if not await self._releases.end(release.id, "stopped", reason):
            return
        self._adopt(None, None)
        log.warning("release %s was stopped: %s", release.name, reason)
        await self._tell(f"Release {release.name} was stopped: {reason}")


class _Lane:
    """A candidate that is open, and the number of answers that it is writing."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._answerer: Answerer | None = None
        self._running = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    async def open(self, candidate: AbstractAsyncContextManager[Answerer]) -> None:
        self._answerer = await self._stack.enter_async_context(candidate)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[Answerer]:
        """The candidate's answerer; it is not closed before the block ends."""
        assert self._answerer is not None
        self._running += 1
        self._is_idle.clear()
        try:
            yield self._answerer
        finally:
            self._running -= 1
            if not self._running:
                self._is_idle.set()

    async def retire(self) -> None:
        """Let it finish its running answers, then close it."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_S):
                    await self._is_idle.wait()
        finally:
            await self._stack.aclose()


def _named(release: Release, arm: Arm) -> Named:
    return {"release": {"id": release.id, "name": release.name, "arm": arm}}


def shares(arms: Mapping[Arm, Tally]) -> dict[str, tuple[Share, Share]]:
    """For each measure, the share of bad chats of the candidate and of the stable arm."""
    candidate, stable = arms["candidate"], arms["stable"]
    return {
        measure: (Share(candidate.bad[measure], candidate.chats), Share(stable.bad[measure], stable.chats))
        for measure in MEASURES
    }


def sentence(finding: Finding) -> str:
    """The finding as a sentence for staff."""
    return (
        f"{finding.measure}: {finding.candidate} against {finding.stable}, "
        f"which chance alone gives once in {1 / max(finding.p, 1e-12):,.0f} times"
    )
