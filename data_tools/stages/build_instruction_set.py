"""Conversations for instruction fine-tuning, made from documents by templates. Splits stay as mix decided them.

Memory is bounded by a row group.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from data_tools.config import DataRuntime, InstructionSetConfig, InstructionTemplate
from data_tools.errors import DataError
from data_tools.progress import Progress

Counters = dict[str, int | float | str]

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


def run(
    config: InstructionSetConfig, inputs: dict[str, Path], out: Path, progress: Progress, runtime: DataRuntime
) -> Counters:
    """Write ``examples/``: doc_id, messages (JSON: a list of ``{"role", "content"}``), split.

    Raises:
        DataError: not one document has the fields that any template asks for.
    """
    from data_tools.parallel import map_shards
    from data_tools.parquet import shard_paths

    paths = shard_paths(inputs["documents"] / "documents")
    (out / "examples").mkdir(parents=True, exist_ok=True)
    total: Counter[str] = Counter({f"template.{index}": 0 for index in range(len(config.templates))})
    fields: set[str] = set()
    for counts, seen in map_shards(
        partial(_converse_shard, config, out / "examples"),
        paths,
        runtime=runtime,
        sizes=[path.stat().st_size for path in paths],
        progress=progress,
        message="writing conversations",
    ):
        total.update(counts)
        fields |= seen
    if total["examples"] == 0:
        raise DataError(
            f"no document fits any template; the documents have the fields {', '.join(sorted(fields)) or 'none'}",
            where="instruction_set.templates",
            fix="Use {text}, {first_sentence} and fields named in the source's metadata_fields, and allow answers "
            "long enough for a sentence (instruction_set.max_answer_chars).",
        )
    return {name: total[name] for name in sorted(total)}


def _converse_shard(config: InstructionSetConfig, folder: Path, path: Path) -> tuple[Counter[str], set[str]]:
    import pyarrow as pa

    from data_tools.mixture import once
    from data_tools.parquet import ShardFile, read_row_groups
    from data_tools.schema import INSTRUCTION_EXAMPLES

    counts: Counter[str] = Counter()
    seen: set[str] = set()
    with ShardFile(folder / path.name, INSTRUCTION_EXAMPLES, keep_empty=False) as file:
        for table in read_row_groups(path, ["doc_id", "text", "metadata", "split", "repetition"]):
            table = once(table)
            rows: list[dict[str, str]] = []
            for document in table.to_pylist():
                metadata = dict(document["metadata"] or [])
                seen.update(metadata)
                counts["documents_in"] += 1
                made = 0
                for index, messages in conversations(config, document["doc_id"], document["text"], metadata):
                    packed = json.dumps(messages, ensure_ascii=False)
                    rows.append({"doc_id": document["doc_id"], "messages": packed, "split": document["split"]})
                    counts["examples"] += 1
                    counts[f"examples_{document['split']}"] += 1
                    counts[f"template.{index}"] += 1
                    made += 1
                counts["removed.no-template-fits"] += not made
            file.write(pa.Table.from_pylist(rows, schema=INSTRUCTION_EXAMPLES))
    return counts, seen


def conversations(
    config: InstructionSetConfig, doc_id: str, text: str, metadata: Mapping[str, str]
) -> Iterator[tuple[int, list[dict[str, str]]]]:
    """Up to ``per_document`` conversations of one document, each with its template's number.

    Templates are tried in an order given by the hash of the document's id, so every document gets its own choice and
    always the same one. A template whose fields the document lacks, whose answer is excluded, or whose answer can't be
    cut to a whole sentence within ``max_answer_chars``, is passed over.
    """
    from data_tools.text import sentences, truncate_to_sentences

    values = dict(metadata)
    values["text"] = text
    values["first_sentence"] = next(sentences(text), "")
    made = 0
    for index in _template_order(doc_id, len(config.templates)):
        template: InstructionTemplate = config.templates[index]
        question, answer = fill(template.user, values), fill(template.assistant, values)
        if question is None or answer is None or answer.strip() in template.exclude:
            continue
        answer = truncate_to_sentences(answer, config.max_answer_chars)
        if not answer:
            continue
        yield index, [{"role": "user", "content": question.strip()}, {"role": "assistant", "content": answer}]
        made += 1
        if made == config.per_document:
            return


def _template_order(doc_id: str, templates: int) -> list[int]:
    import xxhash

    return sorted(range(templates), key=lambda index: (xxhash.xxh3_64_intdigest(f"{doc_id}/{index}".encode()), index))


def fill(template: str, values: Mapping[str, str]) -> str | None:
    """Put values in for ``{name}``; None if one is missing or blank. Only names: no attributes, no formats."""
    names = _PLACEHOLDER.findall(template)
    if any(not values.get(name, "").strip() for name in names):
        return None
    return _PLACEHOLDER.sub(lambda match: values[match.group(1)], template)
