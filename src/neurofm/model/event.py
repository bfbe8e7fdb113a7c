"""Events through the trunk: latents on a grid of time read them (POYO, Azabou et al. 2023)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from neurofm.model.backbone import BackboneConfig, Run, attend, rotary, rotate
from neurofm.model.rows import RowMaker
from neurofm.model.stitch import Sheet, standardised
from neurofm.tokens.event import Event
from neurofm.tokens.tokens import Group


class Reading(nn.Module):
    """Queries on a grid of times read packed tokens of their own window, and of no other.

    Attention with rotary time on queries, keys and values, so that what is read depends on how long
    ago it was. One more key of zero, with a value of zero, takes what no token deserves: many
    matching tokens say more than one, and a window without tokens reads nothing.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_query, self.norm_token = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.merge = nn.Linear(width, width)

    def forward(
        self,
        queries: Tensor,
        at: Tensor,
        limit: Tensor | None,
        tokens: Tensor,
        when: Tensor,
        stops: Tensor,
        lengths: Sequence[int],
    ) -> Tensor:
        """(B, Q, D) queries at (Q,), (M, D) tokens at (M,) -> (B, Q, D).

        With `limit` (Q,), a query sees the tokens whose `stops` (M,) are not past it.
        """
        size = queries.shape[-1] // self.heads
        cos, sin = rotary(at, size)
        q = self.query(self.norm_query(queries)).unflatten(-1, (self.heads, size)).transpose(1, 2)
        q = rotate(q, cos, sin)
        kv = self.key_value(self.norm_token(tokens)).unflatten(-1, (2, self.heads, size))
        turn = (angle[:, None, None] for angle in rotary(when, size))
        kv = rotate(kv, *turn)
        parts, windows = [], []
        for which, rows in equal_lengths(lengths, tokens.device):
            k, v = functional.pad(kv[rows].permute(2, 0, 3, 1, 4), (0, 0, 1, 0))
            blocked = None
            if limit is not None:
                late = stops[rows][:, None] > limit[:, None]  # (b, Q, n)
                blocked = functional.pad(late, (1, 0))[:, None]
            parts.append(attend(q[which], k, v, blocked))
            windows.append(which)
        order = torch.cat(windows).argsort()
        read = rotate(torch.cat(parts)[order], cos, -sin)
        out: Tensor = self.merge(read.transpose(1, 2).flatten(2))
        return out


def equal_lengths(lengths: Sequence[int], device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """(windows (b,), their tokens (b, n)) for each length n that occurs: buckets without padding."""
    firsts, first = [], 0
    by_length: dict[int, list[int]] = {}
    for window, length in enumerate(lengths):
        by_length.setdefault(length, []).append(window)
        firsts.append(first)
        first += length
    start = torch.tensor(firsts, device=device)
    out = []
    for length, windows in by_length.items():
        which = torch.tensor(windows, device=device)
        out.append((which, start[which][:, None] + torch.arange(length, device=device)))
    return out


class EventLayout(nn.Module):
    """Latents read a window's events, pass through the trunk, and are read at each bin.

    A token is its channel's row and how many spikes, or a hidden channel's row and for how long.
    `latents` queries stand at the middle of each block of bins. In causal mode they see tokens up to
    the end of their block, and a bin sees the latents of blocks that have ended by its own end.
    """

    in_patches = False

    def __init__(self, tokens: Event, rows: RowMaker, backbone: BackboneConfig) -> None:
        super().__init__()
        width = backbone.width
        self.block_bins, self.n_latents, self.causal = (
            tokens.block_bins,
            tokens.latents,
            backbone.causal,
        )
        self.rows = rows(width, 0.1)
        self.hidden = rows(width, 0.1, by_site=False)
        # Vectors, not matrices: an optimiser of matrices must not orthogonalise them.
        self.count, self.silence = (nn.Parameter(torch.randn(width) * 0.1) for _ in range(2))
        self.queries = nn.Parameter(torch.randn(tokens.latents * width))
        self.question = nn.Parameter(torch.randn(width))
        self.read_events = Reading(width, backbone.heads)
        self.read_latents = Reading(width, backbone.heads)

    def sheet(self, group: Group) -> Sheet:
        """Events on the sheet of bins.

        A token that tells of several bins shows its mean in the last of them; the others count as
        hidden, since nobody could know the sum before.
        """
        n_channels = len(group.context.rate)
        reach = torch.arange(self.block_bins, device=group.values.device)
        at = group.bins[:, None] + reach  # (M, L)
        stops, width = group.stops[:, None], (group.stops - group.bins)[:, None]
        row = self._windows(group)[:, None] * group.n_bins + at
        n_cells = len(group.lengths) * group.n_bins * n_channels
        flat = row * n_channels + self._channel(group)[:, None]
        flat = flat.where(at < stops, n_cells).flatten()  # one cell behind the last: nowhere
        hidden = group.hidden[:, :, 0] | (at < stops - 1)
        counts = group.values[:, :, 0].float() / width * ~hidden
        shape = (len(group.lengths), group.n_bins, n_channels)
        sheet, missing = (
            x.new_zeros(n_cells + 1).scatter(0, flat, x.flatten())[:-1].view(shape)
            for x in (counts, hidden)
        )
        return standardised(sheet, missing, group.context)

    def _channel(self, group: Group) -> Tensor:
        return group.channels[:, 0].repeat(len(group.bins) // max(len(group.channels), 1))

    def _windows(self, group: Group) -> Tensor:
        lengths = torch.tensor(group.lengths, device=group.values.device)
        return torch.arange(len(lengths), device=lengths.device).repeat_interleave(
            lengths, output_size=len(group.bins)
        )

    def _grid(self, group: Group) -> Tensor:
        """(blocks,) the first bin of each block."""
        n_blocks = -(-group.n_bins // self.block_bins)
        return torch.arange(n_blocks, device=group.values.device) * self.block_bins

    def run(self, group: Group) -> Run:
        """`latents` tokens a block of bins."""
        middle = self._grid(group) + (self.block_bins - 1) / 2
        return Run(len(group.lengths), middle, self.n_latents)

    def embed(self, _read: Tensor | None, group: Group, /) -> Tensor:
        """The latents (B, N, D) of each block, having read the events."""
        run = self.run(group)
        queries = self.queries.view(self.n_latents, -1).repeat(len(run.times), 1)
        queries = queries.expand(run.n_windows, -1, -1)
        at, ends = run.times, self._grid(group) + self.block_bins
        at, ends = at.repeat_interleave(self.n_latents), ends.repeat_interleave(self.n_latents)
        tokens, when = self._tokens(group), (group.bins + group.stops - 1) / 2
        seen: Tensor = self.read_events(queries, at, ends if self.causal else None, tokens, when,
                                group.stops, group.lengths)  # fmt: skip
        return queries + seen

    def _tokens(self, group: Group) -> Tensor:
        """(M, D)."""
        channel, hidden = self._channel(group), group.hidden[:, :, 0]
        spikes = functional.embedding(channel, self.rows(group.context))
        spikes = spikes + group.values[:, :, 0].float().sqrt() * self.count
        missing = functional.embedding(channel, self.hidden(group.context))
        width = (group.stops - group.bins)[:, None] / self.block_bins
        return torch.where(hidden, missing + width * self.silence, spikes)

    def latents(self, z: Tensor, group: Group, /) -> Tensor:
        """(B, N, D) -> (B, T, D): each bin reads the latents."""
        run = self.run(group)
        bins = torch.arange(group.n_bins, device=z.device)
        questions = self.question.expand(run.n_windows, group.n_bins, -1)
        when = run.times.repeat_interleave(self.n_latents).repeat(run.n_windows)
        ends = (self._grid(group) + self.block_bins).repeat_interleave(self.n_latents)
        limit = bins + 1 if self.causal else None
        tokens, stops = z.flatten(0, 1), ends.repeat(run.n_windows)
        lengths = (run.length,) * run.n_windows
        read: Tensor = self.read_latents(questions, bins, limit, tokens, when, stops, lengths)
        return read
