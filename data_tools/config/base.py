"""What every configuration has in common, and the one that changes nothing of what comes out: the runtime."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    """Unknown keys are refused, values don't change after they were checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    FILE_FIELDS: ClassVar[frozenset[str]] = frozenset()
    """Fields that say where files lie. They are no part of a stage's identity: the files' content is."""


class DataRuntime(Strict):
    """How it is computed. Nothing here changes what comes out."""

    executor: Literal["auto", "serial", "processes", "dask", "ray"] = "auto"
    """Where shards are worked on. `auto`: processes of this machine, or none for little work. `dask` and `ray` need
    the extra of that name."""
    workers: int = Field(default=0, ge=0, le=1024)
    """Processes; 0 is one for each core (for `dask` and `ray` with an address: what the cluster has)."""
    address: str | None = None
    """Of a Dask scheduler or a Ray cluster. None: a local cluster for the time of the run."""
    memory_mb: int = Field(default=1024, ge=128, le=10_000_000)
    """What sorting and grouping may hold in memory before it spills to disk."""
    cache: str | None = None
    """Folder for downloads."""
    offline: bool = False
    """Never ask the network; use the cache."""
