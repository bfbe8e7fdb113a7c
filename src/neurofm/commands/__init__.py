"""The commands, one function each, in the order of the work."""

from collections.abc import Callable

from neurofm.commands.adapt import adapt
from neurofm.commands.anatomy import anatomy
from neurofm.commands.animals import animals
from neurofm.commands.decode import decode
from neurofm.commands.generate import generate
from neurofm.commands.main_path import (
    demo,
    doctor,
    evaluate,
    ingest,
    inspect,
    pretrain,
    report,
)
from neurofm.commands.people import people
from neurofm.commands.plan import plan
from neurofm.commands.retrieve import retrieve
from neurofm.commands.scale import scale
from neurofm.commands.share import share
from neurofm.commands.stream import stream
from neurofm.commands.twin import twin
from neurofm.commands.verify import verify

COMMANDS: dict[str, Callable[..., int]] = {
    "ingest": ingest,
    "inspect": inspect,
    "plan": plan,
    "pretrain": pretrain,
    "evaluate": evaluate,
    "anatomy": anatomy,
    "decode": decode,
    "twin": twin,
    "adapt": adapt,
    "animals": animals,
    "people": people,
    "retrieve": retrieve,
    "report": report,
    "scale": scale,
    "share": share,
    "generate": generate,
    "stream": stream,
    "verify": verify,
    "doctor": doctor,
    "demo": demo,
}
