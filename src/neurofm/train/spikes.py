"""A step whose loss leaps out of those before it is skipped; a run that keeps leaping is stopped.

Skipping the batch is what large runs do by hand (Chowdhery et al. 2022, *PaLM*, section 5.1). The
rule needs only the losses that the log holds, so a resumed run decides as an unbroken one.
"""

import statistics
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from neurofm.errors import CheckFailed

# Four real runs of 14,884 steps had leaps of up to 73 quartile distances, which clipping survived: the
# default of `optim.skip_above` is for what it does not.
LAST, LEAST = 100, 32  # losses that are compared with, and how many there must be
MOST = 10  # steps in a row that may be skipped


@dataclass
class Spikes:
    """The last losses, skipped ones among them: a median and quartiles stand a third of outliers.

    A loss is a spike if it is above their median by more than `above` times the distance between
    their quartiles; 0 finds none.
    """

    above: float = 0.0
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=LAST))
    in_a_row: int = 0

    @classmethod
    def after(cls, rows: Iterable[Mapping[str, Any]], done: int, above: float) -> Self:
        """As they are when `done` steps are done, from the rows of a log."""
        steps = {r["step"]: r for r in rows if r.get("event") == "step" and r["step"] <= done}
        made = cls(above)
        for number in sorted(steps):
            made.add(steps[number]["loss"], bool(steps[number].get("skipped")))
        return made

    def add(self, loss: float, skipped: bool) -> None:
        """Take in the loss of a step."""
        self.losses.append(loss)
        self.in_a_row = self.in_a_row + 1 if skipped else 0

    def skip(self, loss: float, number: int) -> bool:
        """Whether step `number` must leave the weights alone; its loss is taken in.

        Raises CheckFailed if that was so too often in a row: then it is not the batch.
        """
        spike = False
        if self.above and len(self.losses) >= LEAST:
            low, middle, high = statistics.quantiles(self.losses, n=4)
            spike = loss - middle > self.above * (high - low)
            if spike and self.in_a_row >= MOST:
                raise CheckFailed(
                    f"step {number + 1}: the loss is {loss:.4g}, far above the median of "
                    f"{middle:.4g}, for {MOST + 1} steps in a row; they were skipped, and the last "
                    "checkpoint is good. Start anew with a lower optim.rate, look for extreme "
                    "counts with `neurofm inspect`, or set optim.skip_above=0."
                )
        self.add(loss, spike)
        return spike
