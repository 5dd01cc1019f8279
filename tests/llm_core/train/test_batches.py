import numpy as np

from llm_core.train.batches import IGNORE, Example, ExampleBatches, in_order, pad


def ragged(count: int) -> list[Example]:
    draw = np.random.default_rng(1)
    return [Example([n] * int(draw.integers(1, 40)), n % 3) for n in range(count)]


def test_every_example_comes_once_an_epoch_in_another_order_each_time() -> None:
    batches = ExampleBatches(ragged(53), 8, pad_id=0, seed=4)
    first, second = batches.epoch(0), batches.epoch(1)
    for epoch in (first, second):
        assert sorted(n for batch in epoch for n in batch) == list(range(53))
        assert len(epoch) == batches.steps_per_epoch == 7
    assert first != second
    assert ExampleBatches(ragged(53), 8, pad_id=0, seed=4).epoch(1) == second


def test_a_step_is_the_same_rows_however_it_is_cut() -> None:
    batches = ExampleBatches(ragged(53), 8, pad_id=0, seed=4)

    def rows(step: int, size: int) -> list[int]:
        return [int(row[0]) for batch in batches.micro_batches(step, size) for row in batch.tokens]

    for step in (0, 3, 6, 7, 20):
        assert rows(step, 8) == rows(step, 3) == rows(step, 1)


def test_similar_lengths_come_together() -> None:
    examples = ragged(400)
    batches = ExampleBatches(examples, 8, pad_id=0, seed=1)
    padded = sum(max(len(examples[i].tokens) for i in batch) * len(batch) for batch in batches.epoch(0))
    real = sum(len(example.tokens) for example in examples)
    assert padded < 1.25 * real  # unsorted it would be about 1.8


def test_padding_is_on_the_right_and_never_a_target() -> None:
    batch = pad([Example([5, 6], [6, IGNORE]), Example([7, 8, 9], [8, 9, 1])], pad_id=99)
    assert batch.tokens.tolist() == [[5, 6, 99], [7, 8, 9]]
    assert batch.targets.tolist() == [[6, IGNORE, IGNORE], [8, 9, 1]]
    assert batch.lengths.tolist() == [2, 3]


def test_in_order_visits_all_examples() -> None:
    numbers = [n for piece, _ in in_order(ragged(21), 0, rows=4) for n in piece]
    assert sorted(numbers) == list(range(21))
