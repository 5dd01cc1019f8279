"""The peers' own environment. Some pin what clashes with ours: datatrove's `processing` extra wants xxhash below 4.

It is made once, beside the repository's files in `.venv-peers` (git ignores it), or lies where GROUNDUP_PEERS_PYTHON
says. Where it can't be made, the peers are absent from the tables.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

#: The versions that the published numbers were measured with.
REQUIREMENTS = (
    "datatrove[processing]==0.10.1",
    "datasketch==2.0.0",
    "rensa==0.5.0",
    "gaoya==0.2.2",
    "polars==2.1.0",
    "spacy==3.8.18",
    "scipy==1.17.1",
    "gigabpe==0.1.0",
)
VERSIONS_OF = ("datatrove", "datasketch", "rensa", "gaoya", "polars", "spacy", "xxhash", "numpy", "pyarrow", "gigabpe")
_FOLDER = Path(__file__).parents[1] / ".venv-peers"
_LIMIT_SECONDS = 1_800


@functools.cache
def peers_python() -> Path | None:
    """The interpreter that has the peers, made at the first call; None where that failed."""
    given = os.environ.get("GROUNDUP_PEERS_PYTHON")
    if given:
        return Path(given)
    python = _FOLDER / "bin" / "python"
    if (_FOLDER / ".installed").exists():
        return python
    print(f"Installing the peers into {_FOLDER.name} (a few minutes, once)", flush=True)
    for command in (
        [sys.executable, "-m", "venv", str(_FOLDER)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS],
    ):
        try:
            subprocess.run(command, check=True, timeout=_LIMIT_SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"The peers can't be installed ({error}); they are absent below.", flush=True)
            return None
    (_FOLDER / ".installed").touch()
    return python


def made() -> bool:
    """Whether the peers' environment is there already."""
    return bool(os.environ.get("GROUNDUP_PEERS_PYTHON")) or (_FOLDER / ".installed").exists()


@functools.cache
def peers_versions() -> dict[str, str]:
    """What the peers' environment holds."""
    python = peers_python()
    if python is None:
        return {}
    look = (
        "import importlib.metadata as m, sys\n"
        "for name in sys.argv[1:]:\n"
        "    try: print(name, m.version(name))\n"
        "    except m.PackageNotFoundError: pass\n"
    )
    said = subprocess.run([str(python), "-c", look, *VERSIONS_OF], capture_output=True, text=True).stdout
    return dict(line.split(maxsplit=1) for line in said.splitlines())
