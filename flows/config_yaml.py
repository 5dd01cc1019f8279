"""YAML files and dotted overrides, read strictly: what is ambiguous is refused, never guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from flows.errors import UserError


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader keeps the last of two equal keys and says nothing. This one refuses them."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        # Merged keys (`<<: *anchor`) are meant to be overridden, so look before they are merged in.
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands here twice", key_node.start_mark
                )
            if isinstance(key, str):
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _parse(text: str) -> Any:
    # SafeLoader's subclass builds plain lists, dicts, numbers and strings only.
    loader = _StrictLoader(text)
    try:
        return _unshared(loader.get_single_data())
    except RecursionError:
        raise yaml.constructor.ConstructorError(None, None, "an anchor contains itself") from None
    finally:
        loader.dispose()


def _unshared(value: Any) -> Any:
    """Aliases (`*anchor`) give one object in several places: an override of one must not change the others."""
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    return [_unshared(item) for item in value] if isinstance(value, list) else value


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: no such file, not UTF-8, not YAML, a key twice, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        beside = sorted(p.name for p in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        fix = f"In {path.parent} there are: {', '.join(beside[:8])}." if beside else "Check the path."
        raise UserError("there is no such file.", where=str(path), fix=fix) from None
    except UnicodeDecodeError as error:
        raise UserError(f"this is not UTF-8 text (byte {error.start}).", where=str(path)) from None
    except OSError as error:
        raise UserError(f"the file can't be read: {error.strerror}.", where=str(path)) from None
    try:
        raw = _parse(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UserError(f"{getattr(error, 'problem', None) or 'this is not YAML'}.", where=where) from None
    if not isinstance(raw, dict):
        raise UserError("a configuration is a mapping of sections, such as `pretrain: {steps: 50}`.", where=str(path))
    return raw


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Set one value in ``raw``: ``a.b.c=value``; sections that are missing are made.

    Raises:
        UserError: it isn't of that form, or leads through something that isn't a section.
    """
    path, equals, text = override.partition("=")
    where = f"--set {override}"
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise UserError("an override looks like section.key=value.", where=where, fix="For example: pretrain.steps=50")
    try:
        value = _parse(text) if text.strip() else ""
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or "not a YAML value"
        raise UserError(f"the value can't be read: {problem}.", where=where) from None
    here: Any = raw
    for i, key in enumerate(keys):
        last = i == len(keys) - 1
        if isinstance(here, list):
            if not key.isdigit() or int(key) >= len(here):
                raise UserError(
                    f"{'.'.join(keys[:i])} is a list of {len(here)}; {key!r} is none of its numbers.",
                    where=where,
                    fix=f"Use 0 to {len(here) - 1}." if here else "",
                )
            if last:
                here[int(key)] = value
            else:
                here = here[int(key)]
        elif isinstance(here, dict):
            if last:
                here[key] = value
            else:
                if here.get(key) is None:
                    here[key] = {}
                here = here[key]
        else:
            raise UserError(f"{'.'.join(keys[:i])} is {here!r}, which has no key {key!r}.", where=where)
