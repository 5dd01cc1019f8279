import pytest

from llm_core.evaluate.assistant import word_f1


@pytest.mark.parametrize(
    ("answer", "reference", "expected"),
    [
        ("The city", "the city", 1.0),
        ("the old city", "the city", 0.8),
        ("a river", "the city", 0.0),
        ("", "", 1.0),
        ("", "the", 0.0),
        ("the the the", "the", 0.5),
    ],
)
def test_word_f1(answer: str, reference: str, expected: float) -> None:
    assert word_f1(answer, reference) == pytest.approx(expected)
