"""What a model with computed rows says of a unit from its activity alone, without its region.

Such a model is told the region of every unit, and how units of one region go together, so its rows
give the region away. Here all that is measured anew as if no region and no place were known.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.data.unit_features import DEPTHS
from neurofm.errors import InputError
from neurofm.model.checkpoint import Trained
from neurofm.model.inductive import Encoder
from neurofm.tokens.tokens import ChannelContext
from neurofm.tokens.vocabulary import statistics, with_features


def without_places(recording: Recording) -> Recording:
    """The same activity of channels of which no region, no coordinates and no depth are known."""
    channels = recording.channels
    nowhere = replace(
        channels,
        region=np.full(len(channels), "", dtype=np.str_),
        coordinates=np.full_like(channels.coordinates, np.nan),
        quality={name: column for name, column in channels.quality.items() if name not in DEPTHS},
    )
    return replace(recording, channels=nowhere)


def placeless(
    trained: Trained, recording: Recording, train: Intervals, bin_s: float
) -> ChannelContext:
    """The channels of a recording as the model wants them, with nothing that knows their places.

    Features are measured on `train` anew; names and places of regions enter nowhere. Raises
    InputError if the model does not know the recording or `train` holds no whole bin.
    """
    context, blind = trained.context(recording), without_places(recording)
    found = with_features(statistics(blind, train, bin_s), blind, train, bin_s).features
    assert found is not None
    unknown = torch.zeros(len(found), dtype=torch.int64)
    return replace(context, features=torch.from_numpy(found), region=unknown)


def unit_embedding(trained: Trained, context: ChannelContext) -> NDArray[np.float32]:
    """(C, E) the encoder's output for each unit, before it becomes rows.

    Raises InputError if the model's rows are a table.
    """
    encoder = dict(trained.model.named_children()).get("encoder")
    if not isinstance(encoder, Encoder):
        raise InputError(
            "the model looks its rows up in a table; train one with model.rows=inductive."
        )
    with torch.no_grad():
        return np.asarray(encoder(context).units.float().cpu().numpy())
