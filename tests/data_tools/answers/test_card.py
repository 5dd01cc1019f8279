"""What stands on the data card is what is in the tables, and no text of a document can break out of its place."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from data_tools import config as configs
from data_tools import schema
from data_tools.answers import card_wording as say
from data_tools.answers.card_facts import CardFacts, gather, said
from data_tools.answers.card_html import html
from data_tools.answers.card_markdown import escape, markdown
from data_tools.answers.tables import Tables
from data_tools.progress import no_progress
from data_tools.stages import write_data_card
from tests.data_tools.answers.conftest import IDS, document, write

RECIPE = configs.Recipe(
    ingest=configs.IngestConfig.model_validate(
        {
            "sources": [
                {"kind": "warc", "name": "web", "path": "/secret/place"},
                {"kind": "text", "name": "books", "path": "x"},
            ]
        }
    ),
    select=configs.SelectConfig.model_validate({"language": {"keep": ["en", "fr"]}}),
    decontaminate=configs.DecontaminateConfig.model_validate({"benchmarks": [{"name": "science-quiz", "path": "x"}]}),
    mix=configs.MixConfig(bytes_per_token=2.0),
)


@pytest.fixture
def facts(tables: Tables) -> CardFacts:
    return gather(tables, configs.DataCardConfig(about="Made by hand.\n\nFor tests."), RECIPE)


def test_the_corpus_is_counted_once_and_read_with_repetitions(facts: CardFacts) -> None:
    assert (facts.documents, facts.rows) == (4, 5)
    assert facts.tokens == round(facts.row_bytes / 2) and facts.row_bytes > facts.bytes
    assert [(share.name, share.documents) for share in facts.splits] == [("train", 3), ("test", 1)]
    assert [(share.name, share.documents) for share in facts.languages] == [("en", 4)]
    assert [(share.name, share.documents) for share in facts.hosts] == [("example.org", 4)]
    assert sum(share.documents for share in facts.lengths) == 4
    assert facts.shortest <= facts.median <= facts.longest


def test_sources_have_their_kind_license_and_share(facts: CardFacts) -> None:
    web, books = sorted(facts.sources, key=lambda source: source.name, reverse=True)
    assert (web.kind, web.licenses, web.documents_read, web.documents, web.rows) == ("warc", ("CC0",), 8, 4, 5)
    assert (books.kind, books.licenses, books.documents_read, books.documents) == ("text", (), 2, 0)


def test_every_removal_edit_duplicate_and_match_is_on_it(facts: CardFacts) -> None:
    assert [(one.stage, one.reason, one.documents) for one in facts.removed] == [
        ("select", "gopher/short", 1),
        ("select", "gopher/stop-words", 1),
        ("clean", "clean/empty", 1),
        ("deduplicate", "exact-duplicate", 1),
        ("deduplicate", "near-duplicate", 1),
        ("decontaminate", "contamination/science-quiz", 1),
        ("mix", "mixture/not-drawn", 1),
    ]
    assert facts.removed[0].examples[0].doc_id == IDS["short"]
    assert [(one.reason, one.documents) for one in facts.quarantined] == [("bad-json", 1)]
    assert ("clean", "personal-data/emails", 1, 1) in facts.edits
    found = facts.duplicates
    assert (found.exact, found.near, found.clusters, found.cluster_sizes) == (1, 1, 1, (("3", 1),))
    assert found.closest_calls[0].doc_id == IDS["near"] and found.closest_calls[0].similarity == 0.8
    assert {(one.benchmark, one.action, one.documents) for one in facts.contamination} == {
        ("science-quiz", "removed", 1),
        ("science-quiz", "cut", 1),
    }


def test_the_recipe_says_what_differs_from_the_defaults_and_no_place(facts: CardFacts) -> None:
    assert facts.recipe["select"] == {"language.keep": ["en", "fr"]}
    assert facts.recipe["mix"] == {"bytes_per_token": 2.0}
    assert "/secret/place" not in json.dumps(facts.as_dict()) + markdown(facts) + html(facts)
    assert said(configs.Recipe(annotate=configs.AnnotateConfig())) == {"annotate": {}}


class Page(HTMLParser):
    """Checks that tags match, and remembers them."""

    VOID = frozenset({"meta"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, (tag, self.open)

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> Page:
    parser = Page()
    parser.feed(page)
    parser.close()
    assert not parser.open
    return parser


def test_the_page_is_whole_and_needs_nothing_from_anywhere(facts: CardFacts) -> None:
    page = read(html(facts))
    names = {tag for tag, _ in page.tags}
    assert {"h1", "h2", "table", "details", "style"} <= names
    assert not names & {"script", "link", "img", "iframe", "object"}
    targets = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("href", "src")]
    assert targets and all(target and target.startswith("#") for target in targets)
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {target[1:] for target in targets if target} <= ids
    for word in ("personal-data/emails", "science-quiz", "bad.jsonl, line 12", "Made by hand.", "gopher/short"):
        assert word in page.text and escape(word) in markdown(facts)


def test_no_text_of_a_document_becomes_markup(tmp_path: Path) -> None:
    evil = "</q></style><script>alert(1)</script> | a\n# b `c` [x](javascript:y) ```\n<img src=x onerror=z>"
    row = document("plain", source_id=evil) | {"license": evil, "language": evil, "url": f"https://{evil}/"}
    row |= {"split": "train", "repetition": 0, "text": evil}
    document_row = {name: row[name] for name in schema.DOCUMENTS.names}
    write(tmp_path / "ingest", "documents", schema.DOCUMENTS, [[document_row]])
    quarantined = dict.fromkeys(schema.QUARANTINE.names, evil)
    write(
        tmp_path / "ingest", "quarantine", schema.QUARANTINE, [[quarantined | {"reason": "bad-json", "source": "web"}]]
    )
    write(tmp_path / "mix", "documents", schema.MIXED_DOCUMENTS, [[row]])
    with Tables({"ingest": tmp_path / "ingest", "mix": tmp_path / "mix"}) as tables:
        facts = gather(tables, configs.DataCardConfig(title=evil[:50], about=evil), configs.Recipe())
    page = read(html(facts))
    assert not {"script", "img"} & {tag for tag, _ in page.tags} and "alert(1)" in page.text
    body = markdown(facts).partition("\n\n")[2].replace(evil, "")  # `about` is the user's own Markdown
    assert not re.search(r"(?<!\\)<", body) and "\n# b" not in body
    for line in body.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")


def test_a_corpus_that_nothing_happened_to(tmp_path: Path) -> None:
    row = document("plain") | {"split": "train", "repetition": 0, "license": None, "language": None, "url": None}
    write(tmp_path / "ingest", "documents", schema.DOCUMENTS, [[{n: row[n] for n in schema.DOCUMENTS.names}]])
    write(tmp_path / "mix", "documents", schema.MIXED_DOCUMENTS, [[row]])
    with Tables({"ingest": tmp_path / "ingest", "mix": tmp_path / "mix"}) as tables:
        facts = gather(tables, configs.DataCardConfig(examples=0), configs.Recipe())
    assert not facts.removed and facts.languages[0].name == "not identified"
    assert "not compared with any evaluation set" in read(html(facts)).text
    assert "Every record could be read." in markdown(facts)


def test_the_stage_writes_all_three_forms_the_same_each_time(folders: dict[str, Path], tmp_path: Path) -> None:
    inputs = {"documents" if name == "mix" else name: folder for name, folder in folders.items()}
    config = configs.DataCardStage(recipe=RECIPE)
    made = []
    for workers in (1, 4):
        out = tmp_path / str(workers)
        out.mkdir()
        counters = write_data_card.run(config, inputs, out, no_progress, configs.DataRuntime(workers=workers))
        made.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert made[0] == made[1] and set(made[0]) == {"data_card.md", "data_card.html", "data_card.json"}
    assert counters["documents"] == 4 and counters["sources"] == 2
    assert json.loads(made[0]["data_card.json"])["documents"] == 4


@pytest.mark.parametrize(
    ("n", "told"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (198_257_509, "198 MB"), (2.5e13, "25 TB")]
)
def test_sizes(n: float, told: str) -> None:
    assert say.size(n) == told


def test_shares_never_round_to_nothing_or_to_all() -> None:
    assert say.percent(1, 1_000_000) == "< 0.1 %" and say.percent(999_999, 1_000_000) == "> 99.9 %"
    assert say.percent(1, 2) == "50.0 %" and say.percent(0, 5) == "0.0 %" and say.percent(1, 0) == ""
