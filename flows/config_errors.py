"""Pydantic's findings in words for people: file and line, the field's path, the value, what is allowed, near misses."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import annotated_types
import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

Location = tuple[int | str, ...]


def lines_of(path: Path) -> dict[str, int]:
    """Field path -> line in the file. What came in through an anchor points at the anchor's line."""
    found: dict[str, int] = {}

    def walk(node: yaml.Node | None, at: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.tag == "tag:yaml.org,2002:merge":
                    walk(value, at)
            for key, value in node.value:
                if key.tag != "tag:yaml.org,2002:merge" and isinstance(key, yaml.ScalarNode):
                    name = f"{at}.{key.value}".lstrip(".")
                    found[name] = key.start_mark.line + 1
                    walk(value, name)
        elif isinstance(node, yaml.SequenceNode):
            for i, item in enumerate(node.value):
                name = f"{at}.{i}".lstrip(".")
                found[name] = item.start_mark.line + 1
                walk(item, name)

    try:
        walk(yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader), "")
    except (OSError, ValueError, yaml.YAMLError):
        return {}  # a better message without line numbers than none
    return found


def describe_errors(
    error: ValidationError,
    model: type[BaseModel],
    lines: Mapping[str, int] | None = None,
    overrides: Sequence[str] = (),
) -> str:
    """Every problem on a line of its own (a single one without the list's dashes)."""
    said: list[str] = []
    for finding in error.errors(include_url=False):
        for line in _describe(finding, model):
            path = line.partition(":")[0]
            said.append(line + _origin(path, lines or {}, overrides))
    said = list(dict.fromkeys(said))  # a union reports the same finding once for each member
    return said[0] if len(said) == 1 else f"{len(said)} problems\n" + "\n".join(f"  - {line}" for line in said)


def _origin(path: str, lines: Mapping[str, int], overrides: Sequence[str]) -> str:
    for override in reversed(overrides):
        key = override.partition("=")[0].strip()
        if path == key or path.startswith(f"{key}."):
            return f" [--set {override}]"
    return f" [line {lines[path]}]" if path in lines else ""


def _describe(finding: Any, model: type[BaseModel]) -> list[str]:
    kind, value, context = finding["type"], finding.get("input"), finding.get("ctx", {})
    location, owner, field = _resolve(tuple(finding["loc"]), model)
    path = ".".join(str(part) for part in location)
    at = f"{path}: " if path else ""
    if kind == "extra_forbidden":
        known = list(owner.model_fields) if owner else []
        section = ".".join(str(part) for part in location[:-1])
        hint = _near(str(location[-1]), known, model if not section else owner, model)
        keys = "" if "mean" in hint else f" Known {'here' if section else 'at the top'}: {', '.join(known)}."
        return [f"{path}: unknown key.{hint}{keys}"]
    if kind == "missing":
        return [f"{path}: is missing{_meaning(field)}."]
    if kind in ("value_error", "assertion_error"):
        message = str(context.get("error") or finding["msg"]).removeprefix("Value error, ")
        return [at + line for line in message.split("\n")]
    allowed = _allowed(kind, context, field)
    message = finding["msg"][:1].lower() + finding["msg"][1:].removeprefix("Input ")
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return [f"{at}{_show(value)} is not a section. {_known_keys(field)}".rstrip()]
    problem = f"{_show(value)} is not allowed; {allowed}" if allowed else f"{_show(value)}: {message}"
    if isinstance(value, bool) and kind == "string_type":
        problem += " (YAML reads yes, no, on and off as true or false: put it in quotes)"
    return [f"{at}{problem}."]


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _near(key: str, known: list[str], owner: type[BaseModel] | None, root: type[BaseModel]) -> str:
    """ " Did you mean 'steps'?", also when the key stands in the wrong section."""
    close = difflib.get_close_matches(key, known, n=2, cutoff=0.6)
    if close:
        return f" Did you mean {' or '.join(repr(name) for name in close)}?"
    elsewhere = [f"{name}.{key}" for name, part in _sections(root) if key in part.model_fields]
    return f" Did you mean {' or '.join(elsewhere[:3])}?" if elsewhere else ""


def _sections(model: type[BaseModel], prefix: str = "") -> list[tuple[str, type[BaseModel]]]:
    found = []
    for name, field in model.model_fields.items():
        for part in _models(field.annotation):
            found += [(prefix + name, part), *_sections(part, f"{prefix}{name}.")]
    return found


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models that a field may hold: `X`, `X | None`; not the items of a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [model for part in typing.get_args(annotation) for model in _models(part)]
    return []


def _item_models(annotation: Any) -> list[type[BaseModel]]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [model for part in typing.get_args(annotation) for model in _item_models(part)]
    if typing.get_origin(annotation) in (tuple, list):
        return [model for part in typing.get_args(annotation) for model in _models(part)]
    return []


def _resolve(location: Location, model: type[BaseModel]) -> tuple[Location, type[BaseModel] | None, FieldInfo | None]:
    """Follow ``location`` through the models: its path without pydantic's names of union members, the model that
    should know the last key, and that key's field if it is known."""
    path: list[int | str] = []
    owner: type[BaseModel] | None = model
    field: FieldInfo | None = None
    items: list[type[BaseModel]] = []
    for part in location:
        if isinstance(part, int):
            path.append(part)
            owner = items[0] if items else None
            continue
        if owner is None and path and "[" in part:
            continue  # such as "tuple[str, ...]", the member of a union
        path.append(part)
        field = owner.model_fields.get(part) if owner else None
        if field is None:
            continue
        inner = _models(field.annotation)
        items = _item_models(field.annotation)
        if part != location[-1] or len(path) < len(location):
            owner = inner[0] if inner else None
    return tuple(path), owner, field


def _allowed(kind: str, context: Mapping[str, Any], field: FieldInfo | None) -> str:
    """What would be allowed: both bounds where there are two, the choices, the pattern."""
    if kind in ("literal_error", "enum"):
        return f"it must be {context.get('expected', '')}"
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        bounds = _bounds(field) or [
            f"{words} {context[key]}" for key, words in _BOUND_WORDS.items() if context.get(key) is not None
        ]
        return f"it must be {' and '.join(bounds)}"
    if kind in ("int_type", "int_parsing", "int_from_float"):
        return " ".join(["it must be a whole number", *_bounds(field)[:1], *(f"and {b}" for b in _bounds(field)[1:])])
    if kind in ("float_type", "float_parsing"):
        return " ".join(["it must be a number", *_bounds(field)[:1], *(f"and {b}" for b in _bounds(field)[1:])])
    if kind in ("bool_type", "bool_parsing"):
        return "it must be true or false"
    if kind == "string_type":
        return "it must be text"
    if kind in ("tuple_type", "list_type"):
        return "it must be a list"
    if kind == "string_pattern_mismatch":
        return f"it must match {context.get('pattern')}"
    if kind in ("too_short", "too_long"):
        few = kind == "too_short"
        return f"it needs {'at least' if few else 'at most'} {context.get('min_length' if few else 'max_length')} items"
    return ""


_BOUND_WORDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def _bounds(field: FieldInfo | None) -> list[str]:
    found = []
    for item in field.metadata if field else []:
        for kind, key in (
            (annotated_types.Ge, "ge"),
            (annotated_types.Gt, "gt"),
            (annotated_types.Le, "le"),
            (annotated_types.Lt, "lt"),
        ):
            if isinstance(item, kind):
                limit = getattr(item, key)
                found.append(
                    f"{_BOUND_WORDS[key]} {limit:,}" if isinstance(limit, int) else f"{_BOUND_WORDS[key]} {limit}"
                )
    return found


def _meaning(field: FieldInfo | None) -> str:
    text = (field.description or "").split(". ")[0].strip().rstrip(".") if field else ""
    return f" ({text})" if text and "\n" not in text and len(text) < 100 else ""


def _known_keys(field: FieldInfo | None) -> str:
    models = _models(field.annotation) if field else []
    return f"It has the keys: {', '.join(models[0].model_fields)}." if models else ""
