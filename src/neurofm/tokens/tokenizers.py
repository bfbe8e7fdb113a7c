"""The ways of cutting a window into tokens, and what they share."""

from neurofm.tokens.event import Event
from neurofm.tokens.patch import Patch
from neurofm.tokens.timebin import TimeBin

TOKENIZERS = {"time-bin": TimeBin, "patch": Patch, "event": Event}

AnyTokenizer = TimeBin | Patch | Event
"""A field of a configuration; which one is meant is said by `kind`, or by keys that only it has."""
