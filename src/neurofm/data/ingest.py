"""From files of any known format to a store; one bad file stops no other."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurofm.data.quality import DEFAULT, Flag, QualityConfig, check, reported
from neurofm.data.readers import EXTENSIONS, reader_for
from neurofm.data.recording import Recording
from neurofm.data.repair import repair
from neurofm.data.store import Store, create_store
from neurofm.errors import InputError, NeurofmError
from neurofm.files import sha256

TRUTH = ".truth.npz"  # what a simulation planted: no recording
WRITTEN, ALREADY, REFUSED = "written", "already there", "refused"


@dataclass(frozen=True)
class Outcome:
    """What became of one file: its status, the id of its recording, the reason if it was refused."""

    path: str
    status: str
    id: str = ""
    sentence: str = ""
    flags: tuple[Flag, ...] = ()


@dataclass(frozen=True)
class IngestReport:
    """What became of every file, in order."""

    outcomes: tuple[Outcome, ...]

    @property
    def refused(self) -> tuple[Outcome, ...]:
        """The files that were not ingested."""
        return tuple(one for one in self.outcomes if one.status == REFUSED)

    @property
    def exit_code(self) -> int:
        """0, or 2 if any file was refused."""
        return 2 if self.refused else 0


def _silent(_: str) -> None:
    """Say nothing."""


def ingest(
    paths: Sequence[Path | str],
    folder: Path | str,
    quality: QualityConfig = DEFAULT,
    say: Callable[[str], None] = _silent,
) -> IngestReport:
    """Read files, or every file of a known extension in folders, into the store at `folder`.

    A file whose bytes the store holds already is passed over; one that cannot be read is reported
    and the others go on. Raises InputError if there is nothing to read, StoreError if `folder` is
    no store or is in use.
    """
    store = create_store(Path(folder))
    outcomes: list[Outcome] = []
    with store.writing():
        for path in find(paths):
            for outcome in _file(path, store, quality):
                outcomes.append(outcome)
                say(_line(outcome))
    return IngestReport(tuple(outcomes))


def find(paths: Sequence[Path | str]) -> list[Path]:
    """The files that are meant, each once: files as they are, folders searched by extension.

    Raises InputError if a folder holds none, or nothing was given.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            found.append(path)
            continue
        inside = [file for file in sorted(path.rglob("*"))
                  if file.suffix.lower() in EXTENSIONS and file.is_file()]  # fmt: skip
        inside = [
            f
            for f in inside
            if not any(p.startswith(".") for p in f.relative_to(path).parts)
            and not f.name.endswith(TRUTH)
        ]
        if not inside:
            raise InputError(f"{path} holds no file that ends in {', '.join(EXTENSIONS)}.")
        found += inside
    if not found:
        raise InputError("no file was given; give recordings, or folders of them.")
    return list(dict.fromkeys(found))


def _file(path: Path, store: Store, quality: QualityConfig) -> Iterator[Outcome]:
    settings = quality.model_dump(mode="json")
    try:
        read = reader_for(path)
        digest = sha256(path)
        known = [
            name
            for name, tree in store.manifests().items()
            if tree["provenance"]["source_sha256"] == digest and tree["settings"] == settings
        ]
        if known:
            yield from (Outcome(str(path), ALREADY, name) for name in known)
            return
        for recording in read(path):
            yield _recording(path, recording, store, quality, settings)
    except NeurofmError as error:
        yield Outcome(str(path), REFUSED, sentence=str(error))
    except Exception as error:  # a file may be broken in ways no reader foresaw; others must go on
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        sentence = f"{path} could not be read ({reason}); export it again, or report it."
        yield Outcome(str(path), REFUSED, sentence=sentence)


def _recording(
    path: Path,
    recording: Recording,
    store: Store,
    quality: QualityConfig,
    settings: dict[str, Any],
) -> Outcome:
    flags = reported(recording)
    recording, repairs = repair(recording, quality)
    flags += repairs + check(recording, quality)
    twins = store.twins(recording)
    if twins:
        message = f"its activity is the same as that of {', '.join(twins)}"
        if quality.duplicated_content == "refuse":
            raise InputError(f"{path}: {message}; leave one of them out.")
        flags.append(Flag("warning", "activity", f"{message}; scores across them would leak"))
    written = store.write(recording, flags, settings)
    status = WRITTEN if written else ALREADY
    return Outcome(str(path), status, recording.id, flags=tuple(flags))


def _line(outcome: Outcome) -> str:
    if outcome.status == REFUSED:
        return f"refused        {outcome.sentence}"
    found = [flag for flag in outcome.flags if flag.severity != "note"]
    more = "".join(f"\n{'':15}{flag.text}" for flag in found)
    return f"{outcome.status:<14} {outcome.id}  ({outcome.path}){more}"
