"""`neurofm plan`: what a pre-training would take, before anything runs."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurofm.commands.options import (
    ConfigFile,
    Device,
    Settings,
    SplitsFile,
    say,
    show,
    use_threads,
)

if TYPE_CHECKING:
    from neurofm.batch_size import Tried
    from neurofm.planning import Machine, Memory, Plan


def plan(
    store: Annotated[Path, typer.Argument(help="A store, made by `neurofm ingest`.")],
    config_file: ConfigFile = None,
    settings: Settings = None,
    device: Device = "auto",
    splits_file: SplitsFile = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="Time steps of 1, 2, 4 ... windows and choose.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Show tokens, FLOPs, hours, memory and bytes of a pre-training before it runs."""
    from neurofm.batch_size import tune_store
    from neurofm.planning import plan_store

    use_threads()
    asked: dict[str, Any] = {"config_file": config_file, "settings": settings or (),
                             "device": device, "splits_file": splits_file}  # fmt: skip
    made = plan_store(store, **asked, say=say)
    rows = tune_store(store, **asked) if tune else []
    if as_json:
        tuned = {"tuned": [asdict(one) for one in rows]} if tune else {}
        show(json.dumps(made.record() | tuned, indent=1))
    else:
        show(render(made))
        if tune:
            show(render_tuned(rows))
    return 0


def render_tuned(rows: Sequence["Tried"]) -> str:
    """What was tried as a table, and what to set."""
    from neurofm.batch_size import chosen

    best = chosen(rows)
    lines = [f"{'windows':>9}  {'windows/s':>9}  memory"]
    lines += [
        f"{one.windows:>9}  {one.windows_per_s:>9.1f}  {si(one.n_bytes, 'B')}"
        + ("  <- fastest for its memory" if one is best else "")
        for one in rows
    ]
    return "\n".join([*lines, f"to train so: --set windows={best.windows} (another size trains differently: fewer, "
                              "larger steps see the same data; rates may have to be found again)"])  # fmt: skip


def render(made: "Plan") -> str:
    """The plan as aligned text, each line with where its figure comes from."""
    m = made.memory
    lines = [*_amounts(made), *_work(made), *((one.name, _hours(one, m)) for one in made.machines)]
    lines.append(
        (
            "",
            "eight: an eighth of one, nothing lost between them (by torchrun; not measured on GPUs)",
        )
    )
    wide = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{wide}}  {text}" for name, text in lines)


def _amounts(made: "Plan") -> list[tuple[str, str]]:
    d, t, p = made.data, made.tokens, made.parameters
    held = "held in memory" if d.in_memory else "read window by window"
    return [
        ("data", f"{d.n_sessions} sessions, {d.n_channels} channels, {d.hours:.2f} hours, {d.train_hours:.2f} to "
                 f"train on, bins of {d.bin_s:g} s; {si(d.counts_bytes, 'B')} of counts, {held}"),
        ("steps", f"{made.steps} of {made.windows} windows: {made.epochs:,.1f} times over the training part"),
        ("tokens", f"{t.mean:.0f} a window ({t.kind}; at most {t.most} in {t.n_windows} drawn), "
                   f"{si(t.in_all)} in all"),
        ("parameters", f"{si(p['trunk'])} in the trunk, {si(p['rows'])} in rows of channels"),
    ]  # fmt: skip


def _work(made: "Plan") -> list[tuple[str, str]]:
    f, m = made.flops, made.memory
    kept = "estimate, as in fp32" + ("; less in bf16" if made.precision == "bf16" else "")
    return [
        ("FLOPs", f"{si(f.a_step)} a step (forward {si(f.forward)}, backward {si(f.backward)}, optimiser "
                  f"{si(f.optimiser)}), {si(f.in_all)} in all with validation; counted on shapes"),
        ("memory", f"{si(m.in_all, 'B')} on the device: weights {si(m.weights, 'B')}, gradients {si(m.gradients, 'B')}, "
                   f"moments {si(m.moments, 'B')}, running average {si(m.average, 'B')}, activations {si(m.kept, 'B')} "
                   f"({kept})"),
        ("checkpoint", f"{si(made.checkpoint_bytes, 'B')}; up to three are kept"),
    ]  # fmt: skip


def _hours(machine: "Machine", memory: "Memory") -> str:
    room = ""
    if machine.memory_bytes is not None:
        fits = "fits" if memory.in_all < machine.memory_bytes else "does not fit"
        room = f"; memory {fits} in {si(machine.memory_bytes, 'B')}"
    took = f"{machine.hours:.3g} hours" if machine.hours > 0.1 else f"{machine.hours * 3600:.2g} s"
    return (f"{took}: {si(machine.peak_flops, 'FLOP/s')} ({machine.peak_from}) "
            f"x {machine.share:.2g} (assumed: {machine.share_from}){room}")  # fmt: skip


def si(value: float, unit: str = "") -> str:
    """1234567 -> 1.23 M."""
    for prefix in ("", "k", "M", "G", "T", "P"):
        if abs(value) < 999.5:
            return f"{value:.3g} {prefix}{unit}".strip()
        value /= 1000
    return f"{value:.3g} E{unit}"
