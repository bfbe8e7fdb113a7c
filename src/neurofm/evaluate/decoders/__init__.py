"""Rival decoders of activity, by name: of signals bin by bin, and of labels of trials.

A decoder is made with the bin width in seconds and whether it may look at the past alone.
"""

from collections.abc import Callable

from neurofm.evaluate.decoders.bayes import Bayes
from neurofm.evaluate.decoders.gru import Gru, GruLabels
from neurofm.evaluate.decoders.logistic import Logistic
from neurofm.evaluate.decoders.ridge import Ridge
from neurofm.evaluate.decoders.wiener import Wiener
from neurofm.evaluate.readout import SignalDecoder
from neurofm.evaluate.trial_readout import LabelDecoder

SIGNAL_DECODERS: dict[str, Callable[[float, bool], SignalDecoder]] = {
    "ridge": Ridge,
    "wiener": Wiener,
    "gru": Gru,
    "bayes": Bayes,
}
LABEL_DECODERS: dict[str, Callable[[float, bool], LabelDecoder]] = {
    "logistic": Logistic,
    "gru": GruLabels,
}
