"""A record with named fields (a JSON object, a table row) becomes a document record, or says why it can't."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from data_tools.config import SourceConfig
from data_tools.sources.protocol import Quarantined, Record, excerpt

_ABSENT = object()


def record_from_fields(
    config: SourceConfig,
    fields: Mapping[str, Any],
    *,
    position: str,
    fallback_id: str,
) -> Record | Quarantined:
    """Take text, id, url and metadata out of ``fields`` as the source's configuration says.

    A name that is no field but has dots leads into nested objects: ``meta.title``.

    Args:
        position: where it stands in its file, for people ("line 12").
        fallback_id: ``source_id`` where ``id_field`` isn't set or this record doesn't have it.
    """
    text = field(fields, config.text_field)
    if text is None:
        names = ", ".join(sorted(map(str, fields))[:20]) or "none"
        return Quarantined(position, "missing-text", f"no field {config.text_field!r}; fields: {names}", _raw(fields))
    if not isinstance(text, str):
        detail = f"field {config.text_field!r} is {type(text).__name__}, not a string"
        return Quarantined(position, "wrong-type", detail, _raw(fields))
    url = field(fields, config.url_field) if config.url_field else None
    source_id = field(fields, config.id_field) if config.id_field else None
    metadata = {}
    for name in config.metadata_fields:
        value = field(fields, name)
        if value is not None:
            metadata[name] = as_string(value)
    return Record(
        source_id=fallback_id if source_id is None else as_string(source_id),
        text=text,
        position=position,
        url=None if url is None else as_string(url),
        metadata=metadata,
    )


def field(fields: Mapping[str, Any], name: str) -> Any:
    """The value of a field, by its name or the dotted path to it. None if there is none."""
    value = fields.get(name, _ABSENT)
    if value is not _ABSENT:
        return value
    first, dot, rest = name.partition(".")
    inner = fields.get(first) if dot else None
    return field(inner, rest) if isinstance(inner, Mapping) else None


def as_string(value: Any) -> str:
    """Metadata are strings: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def _raw(fields: Mapping[str, Any]) -> str:
    return excerpt(json.dumps(dict(fields), ensure_ascii=True, default=str))
