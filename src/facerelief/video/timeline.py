"""Numbers and times of frames, also for files that are broken or give none."""

from __future__ import annotations

import heapq


class Spans:
    """A rising sequence of frame numbers, kept as its unbroken runs."""

    def __init__(self) -> None:
        self.runs: list[list[int]] = []
        self.count = 0

    def add(self, number: int) -> None:
        """Append a number larger than all before."""
        self.count += 1
        if self.runs and self.runs[-1][1] + 1 == number:
            self.runs[-1][1] = number
        else:
            self.runs.append([number, number])

    def __str__(self) -> str:
        """`3 frames (numbers 40 to 42)`, without the many runs of a very broken file."""
        shown = [f"{a}" if a == b else f"{a} to {b}" for a, b in self.runs[:6]]
        rest = " and more" if len(self.runs) > len(shown) else ""
        one = self.count == 1
        return f"{self.count} frame{'' if one else 's'} (number{'' if one else 's'} {', '.join(shown)}{rest})"


class Numbering:
    """Numbers of frames in a stream of which some are lost, from the time stamps of its packets.

    Packets carry a frame each, in coding order; the decoder delivers frames in the order of their stamps.
    So packets that gave no frame and have smaller stamps than the present frame's are lost frames before it.
    Where decoding stamps fall back, another recording was appended: its stamps are compared among themselves
    only. Where packets have no stamps, one that the decoder refuses counts as a lost frame at the decoder's
    present place.
    """

    def __init__(self) -> None:
        self.next = 0
        """Number of the next frame; after `end`, the number of all frames."""
        self.lost = Spans()
        self._waiting: list[list[int]] = [[]]
        """Stamps of packets without a frame so far, by recording; each list is a heap."""
        self._coded: int | None = None
        self._stamped = True

    def packet(self, stamp: int | None, coded: int | None) -> None:
        """Register a packet given to the decoder: its presentation and decoding stamps, in any unit."""
        if stamp is None:
            self._stamped = False
        if not self._stamped or stamp is None:
            return
        if self._coded is not None and coded is not None and coded < self._coded:
            self._waiting.append([])
        self._coded = coded
        heapq.heappush(self._waiting[-1], stamp)

    def refused(self) -> None:
        """Register that the decoder refused the last packet."""
        if not self._stamped:
            self._lose()

    def frame(self, stamp: int | None) -> int:
        """The number of a frame that the decoder delivers."""
        if self._stamped and stamp is not None and any(stamp in part for part in self._waiting):
            while stamp not in self._waiting[0]:
                self._lose(len(self._waiting.pop(0)))
            while heapq.heappop(self._waiting[0]) < stamp:
                self._lose()
        else:  # the decoder's stamps are not those of the packets
            self._stamped = False
        self.next += 1
        return self.next - 1

    def end(self) -> None:
        """The stream has ended: packets without a frame are lost frames."""
        if self._stamped:
            self._lose(sum(map(len, self._waiting)))
            self._waiting = [[]]

    def _lose(self, count: int = 1) -> None:
        for _ in range(count):
            self.lost.add(self.next)
            self.next += 1


class Clock:
    """Strictly rising times in seconds from 0, from stamps that may be missing or fall back.

    A stamp that does not rise is replaced by the last time plus `step`. If the next stamp rises over those
    before, only that one was wrong; if not, times go on from there, as where one recording was appended to
    another.
    """

    def __init__(self, step: float) -> None:
        self.step = step
        self.repaired = Spans()
        self._last: float | None = None
        self._shift = 0.0
        self._other: float | None = None

    def at(self, stamp: float | None, number: int) -> float:
        """Time of frame `number`, whose stamp is in seconds from any origin."""
        if self._last is None:
            self._shift = -(stamp or 0.0)
            self._last = 0.0
            if stamp is None:
                self.repaired.add(number)
            return 0.0
        if stamp is not None:
            for shift in (self._shift, self._other):
                if shift is not None and stamp + shift > self._last:
                    self._shift, self._other = shift, None
                    self._last = stamp + shift
                    return self._last
        self._last += self.step
        self._other = None if stamp is None else self._last - stamp
        self.repaired.add(number)
        return self._last
