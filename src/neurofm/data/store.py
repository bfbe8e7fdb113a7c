"""A store: one folder a session, of `.npy` columns and a manifest. Sessions never change.

STORE/store.json                         schema version
STORE/sessions/<slug>-<hash>/            one session
    manifest.json                        what it is, the hash and unit of each column, flags
    activity.ticks.npy  ...              columns
"""

import contextlib
import difflib
import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from neurofm import files
from neurofm.data import manifest as layout
from neurofm.data.quality import Flag
from neurofm.data.recording import Recording
from neurofm.errors import InputError, StoreError

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Store:
    """An open store. Pickles by its path, so that workers of any start method can open it."""

    folder: Path

    @property
    def sessions(self) -> Path:
        """The folder of the sessions."""
        return self.folder / "sessions"

    def ids(self) -> tuple[str, ...]:
        """Ids of the recordings, sorted."""
        return tuple(sorted(self.manifests()))

    def manifests(self) -> dict[str, dict[str, Any]]:
        """Every manifest, by id."""
        found = (_read_own_manifest(home) for home in self.homes())
        return {tree["id"]: tree for tree in found}

    def manifest(self, id: str) -> dict[str, Any]:
        """The manifest of one recording; StoreError, with the nearest id, if there is none."""
        return _read_own_manifest(self._home(id))

    def open(self, id: str) -> Recording:
        """One recording, its activity and signals as lazy columns.

        Raises StoreError if there is none of that id or a column is damaged.
        """
        home = self._home(id)
        tree = _read_own_manifest(home)
        try:
            return layout.unpack(home, tree)
        except StoreError:
            raise
        except Exception as error:  # a manifest that was changed may be wrong in any way
            raise StoreError(
                f"{home / MANIFEST} does not describe its columns ({type(error).__name__}: {error}); "
                "remove this folder and ingest the recording again."
            ) from None

    def recordings(self) -> list[Recording]:
        """Every recording, in order of id."""
        return [self.open(name) for name in self.ids()]

    def flags(self, id: str) -> list[Flag]:
        """What was found wrong or repaired in a recording when it was ingested."""
        return [Flag(**flag) for flag in self.manifest(id)["flags"]]

    def write(
        self,
        recording: Recording,
        flags: Sequence[Flag] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> bool:
        """Add a recording; False if the store holds the same content under its id already.

        `settings`: whatever shaped the content (JSON-ready), kept in the manifest. Raises
        InputError if the id is taken by other content.
        """
        arrays, tree = layout.pack(recording)
        if self._holds(tree):
            return False
        with files.publish(self.sessions / layout.folder_name(recording.id)) as folder:
            _fill(folder, arrays, tree, flags, settings)
        return True

    def adopt(self, folder: Path, flags: Sequence[Flag] = ()) -> bool:
        """Add what `stage` wrote to a folder on the store's disk, as `write` does, with more flags.

        Raises InputError if the id is taken by other content; the folder is left then.
        """
        tree = _read_manifest(folder)
        if self._holds(tree):
            return False
        if flags:
            tree["flags"] += [asdict(flag) for flag in flags]
            files.write_json(folder / MANIFEST, layout.sealed(tree))
        files.settle(folder, self.sessions / layout.folder_name(tree["id"]))
        return True

    def _holds(self, tree: Mapping[str, Any]) -> bool:
        home = self.sessions / layout.folder_name(tree["id"])
        if not home.exists():
            return False
        old = _read_own_manifest(home)
        if old["content_sha256"] == tree["content_sha256"]:
            return True
        raise InputError(
            f"{tree['id']} is in {self.folder} already, with other content (from "
            f"{old['provenance']['source'] or 'an unnamed source'}); give one of them another "
            f"id, or remove {home} first."
        )

    def fingerprint(self) -> str:
        """Hex SHA-256 over all manifests, and so over all columns."""
        trees = self.manifests()
        plain = [
            {k: v for k, v in trees[name].items() if k != layout.OWN} for name in sorted(trees)
        ]
        lines = [json.dumps(tree, sort_keys=True) for tree in plain]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def verify(self, id: str | None = None) -> None:
        """Hash every column of one recording, or of all, again.

        Raises StoreError that names the first file that is not what was written.
        """
        for home in self.homes() if id is None else (self._home(id),):
            for sentence in self.damage(home):
                raise StoreError(sentence)

    def homes(self) -> list[Path]:
        """The folders of the sessions. Hidden ones are ingests that were cut off, and no sessions."""
        return sorted(path for path in self.sessions.glob("[!.]*") if path.is_dir())

    def n_bytes(self) -> int:
        """Bytes of all sessions."""
        return sum(p.stat().st_size for home in self.homes() for p in home.iterdir() if p.is_file())

    def damage(self, home: Path) -> Iterator[str]:
        """A sentence for each file of a session's folder that is not what was written."""
        remedy = f"remove {home} and ingest it again."
        try:
            tree = _read_own_manifest(home)
            wanted = {str(name): str(said["sha256"]) for name, said in tree["columns"].items()}
        except (StoreError, AttributeError, KeyError, TypeError) as error:
            said = str(error) if isinstance(error, StoreError) else f"{home / MANIFEST} is none."
            yield said if "ingest" in said else f"{said.rstrip('.')}, or {remedy}"
            return
        for name, digest in wanted.items():
            path = home / name
            if not layout.is_plain_name(name):
                yield f"{home / MANIFEST} names {name!r}, outside its folder; {remedy}"
            elif not path.is_file() or files.sha256(path) != digest:
                what = "was changed" if path.is_file() else "is missing"
                yield f"{path}: this column of {tree['id']} {what} after it was written; {remedy}"
        for path in home.iterdir():
            if path.name not in {MANIFEST, *wanted} and not path.name.startswith("."):
                yield f"{path} belongs to no session; remove it."

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the store for an ingest, and clear away what a killed one left.

        Raises StoreError if another process holds it. The hold ends with the process.
        """
        with files.explained(self.folder), (self.folder / ".lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise StoreError(
                    f"{self.folder} is being written by another ingest; wait until it ends."
                ) from None
            files.sweep(self.sessions, "*")
            yield

    def _home(self, id: str) -> Path:
        home = self.sessions / layout.folder_name(id)
        if not home.is_dir():
            known = self.ids()
            near = difflib.get_close_matches(id, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it holds {len(known)} recordings."
            raise StoreError(f"{self.folder} has no recording {id!r}; {hint}")
        return home


def stage(
    recording: Recording,
    folder: Path,
    flags: Sequence[Flag] = (),
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write a session to a new folder that is in no store yet, for `Store.adopt`.

    Raises InputError that names the recording and the column if one cannot be stored.
    """
    arrays, tree = layout.pack(recording)
    files.make(folder)
    _fill(folder, arrays, tree, flags, settings)
    for path in folder.iterdir():
        files.sync(path)  # here, and not in `adopt`, since many may stage at once


def _fill(
    folder: Path,
    arrays: Mapping[str, NDArray[Any]],
    tree: dict[str, Any],
    flags: Sequence[Flag],
    settings: Mapping[str, Any] | None,
) -> None:
    tree["flags"] = [asdict(flag) for flag in flags]
    tree["settings"] = dict(settings or {})
    for name, array in arrays.items():
        files.put(folder / name, *layout.npy_parts(array))
    files.write_json(folder / MANIFEST, layout.sealed(tree))


def create_store(folder: Path | str) -> Store:
    """A store in a new or empty folder, or the store that is there.

    Raises StoreError if the folder holds something else.
    """
    folder = Path(folder)
    if (folder / "store.json").exists():
        return open_store(folder)
    if folder.exists() and not (folder.is_dir() and all(map(files.is_leftover, folder.iterdir()))):
        raise StoreError(f"{folder} is not empty and not a store; choose another folder.")
    files.make(folder)
    files.write_json(folder / "store.json", {"format": "neurofm store", "schema": layout.SCHEMA})
    return Store(folder)


def open_store(folder: Path | str) -> Store:
    """An existing store.

    Raises StoreError if the folder is not one, or is of a later version.
    """
    folder = Path(folder)
    if not (folder / "store.json").is_file():
        raise StoreError(
            f"{folder} is not a store: it has no store.json. Make one with `neurofm ingest`."
        )
    tree = files.read_json(folder / "store.json")
    schema = tree.get("schema") if isinstance(tree, dict) else None
    if schema != layout.SCHEMA:
        raise StoreError(
            f"{folder / 'store.json'} has schema {schema!r} and this version reads "
            f"{layout.SCHEMA}; use the version that wrote it, or ingest again."
        )
    return Store(folder)


def _read_manifest(home: Path) -> dict[str, Any]:
    tree = files.read_json(home / MANIFEST)
    kinds = {"id": str, "columns": dict, "provenance": dict, "content_sha256": str,
             "activity_sha256": str, "flags": list, "settings": dict}  # fmt: skip
    good = isinstance(tree, dict) and all(isinstance(tree.get(k), t) for k, t in kinds.items())
    texts = {"severity", "field", "message"}
    if (
        not good
        or not all(
            isinstance(f, dict) and set(f) == texts and all(isinstance(v, str) for v in f.values())
            for f in tree["flags"]
        )
        or not all(isinstance(c, dict) and "sha256" in c for c in tree["columns"].values())
    ):
        raise StoreError(
            f"{home / MANIFEST} is not a session's manifest; remove this folder and ingest again."
        )
    if not layout.is_sealed(tree):
        raise StoreError(
            f"{home / MANIFEST} was changed after it was written; remove this folder and ingest "
            "the recording again."
        )
    return dict(tree)


def _read_own_manifest(home: Path) -> dict[str, Any]:
    """The manifest of a session in the store; StoreError if it is another session's."""
    tree = _read_manifest(home)
    if home.name != layout.folder_name(tree["id"]):
        raise StoreError(f"{home} holds the manifest of {tree['id']!r}, which belongs into another "
                         "folder; remove this one and ingest again.")  # fmt: skip
    return tree
