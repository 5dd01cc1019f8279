"""Where an artifact came from: the tree down to the hashes of the source files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from flows.errors import UserError
from flows.lineage.manifest import MANIFEST, SOURCE, Manifest
from flows.lineage.store import Store


@dataclass(frozen=True)
class LineageNode:
    """An artifact, or (``stage == "source"``) a file from outside; ``inputs`` is what it was made from.

    ``manifest`` is None for sources, and for artifacts that have been removed since.
    """

    stage: str
    name: str
    """The input name under which the parent read it; the stage for the root, the file for a source."""
    fingerprint: str
    digest: str
    path: Path | None = None
    manifest: Manifest | None = None
    inputs: list[LineageNode] = field(default_factory=list)


def lineage(store: Store, reference: str) -> LineageNode:
    """The tree below ``reference``; see :func:`resolve` for what that can be."""
    folder, manifest = resolve(store, reference)
    return _node(store, manifest.stage, manifest.stage, manifest.fingerprint, manifest.digest, manifest, folder)


def _node(
    store: Store,
    stage: str,
    name: str,
    fingerprint: str,
    digest: str,
    manifest: Manifest | None,
    folder: Path | None,
) -> LineageNode:
    below = []
    for record in manifest.inputs if manifest else ():
        found, place = None, None
        if record.stage != SOURCE:
            place = store.artifact_dir(record.stage, record.fingerprint)
            found = store.manifest(record.stage, record.fingerprint)
        below.append(_node(store, record.stage, record.name, record.fingerprint, record.digest, found, place))
    return LineageNode(stage, name, fingerprint, digest, folder, manifest, below)


def resolve(store: Store, reference: str) -> tuple[Path, Manifest]:
    """The finished artifact that ``reference`` means: a stage name (its latest), ``stage/prefix``, the first digits of
    a fingerprint or digest, or a folder or file of it.

    Raises:
        UserError: none, or more than one, is meant.
    """
    path = Path(reference)
    if path.exists():
        for folder in (path.absolute(), *path.absolute().parents):
            if (folder / MANIFEST).is_file():
                found = Manifest.load(folder)
                if found is not None:
                    return folder.resolve(), found
    latest = store.latest(reference) if re.fullmatch(r"[a-z_]+", reference) else None
    if latest is not None:
        return latest
    stage, _, prefix = reference.rpartition("/")
    matches = {}
    if re.fullmatch(r"[0-9a-f]{4,64}", prefix):
        for folder in sorted(store.artifacts.glob(f"{stage or '*'}/*")):
            manifest = None if folder.is_symlink() else Manifest.load(folder)
            if manifest and (manifest.fingerprint.startswith(prefix) or manifest.digest.startswith(prefix)):
                matches[folder] = manifest
    if len(matches) == 1:
        return matches.popitem()
    if matches:
        names = ", ".join(f"{folder.parent.name}/{folder.name}" for folder in matches)
        raise UserError(f"{reference!r} can mean {names}.", fix="Give more digits, or the stage too.")
    known = sorted(p.name for p in store.artifacts.glob("*") if store.latest(p.name))
    raise UserError(
        f"there is no finished artifact {reference!r}.",
        where=str(store.workspace),
        fix=f"Name a stage ({', '.join(known)}), a fingerprint, or a folder."
        if known
        else "Nothing was made here yet.",
    )
