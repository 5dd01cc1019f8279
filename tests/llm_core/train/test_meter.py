import json
import time
from pathlib import Path

import pytest
import torch

from llm_core.train.data_sheets import nominal_flops
from llm_core.train.meter import JsonLines, Meter, memory_in_use
from llm_core.train.peaks import Peaks, find_peaks

CPU = torch.device("cpu")


def test_pauses_and_the_first_step_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    meter = Meter(CPU)

    def step(seconds: float, tokens: int) -> None:
        clock[0] += seconds
        meter.stepped(tokens)

    step(50.0, 1000)  # warm-up
    assert "perf/tokens_per_second" not in meter.recent()
    step(1.0, 100)
    with meter.paused():
        clock[0] += 1000.0
    step(1.0, 300)
    assert meter.recent()["perf/tokens_per_second"] == 200.0
    step(2.0, 100)
    assert meter.recent()["perf/tokens_per_second"] == 50.0
    assert meter.overall() == 125.0


def test_one_step_alone_still_has_a_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    meter = Meter(CPU)
    clock[0] = 4.0
    meter.stepped(100)
    assert meter.overall() == 25.0


def test_utilization_tells_only_what_is_known() -> None:
    peaks = Peaks("card", nominal=1000.0, measured=800.0, measured_as="a product")
    assert Meter(CPU, 2.0, peaks, devices=2).utilization(400.0) == {"mfu_nominal": 0.4, "mfu_measured": 0.5}
    unknown = Peaks("card", nominal=None, measured=800.0, measured_as="a product")
    assert Meter(CPU, 2.0, unknown).utilization(400.0) == {"mfu_measured": 1.0}
    assert Meter(CPU, 0.0, peaks).utilization(400.0) == {} == Meter(CPU, 2.0).utilization(400.0)


def test_device_names_find_their_peak() -> None:
    assert nominal_flops("NVIDIA H100 80GB HBM3") == nominal_flops("NVIDIA H200") == 989e12
    assert nominal_flops("NVIDIA A100-SXM4-80GB") == 312e12
    assert nominal_flops("NVIDIA H100 PCIe") == 756e12
    assert nominal_flops("NVIDIA L40S") == 362e12 and nominal_flops("NVIDIA L4") == 121e12
    assert nominal_flops("NVIDIA A10G") == 70e12
    assert nominal_flops("NVIDIA GeForce RTX 4090") == 165.2e12
    assert nominal_flops("NVIDIA RTX A4000") is None is nominal_flops("Some card of the future")  # not the A40's


def test_the_measured_peak_is_named_and_leaves_the_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    peaks = find_peaks(CPU, "fp32")
    assert torch.equal(before, torch.get_rng_state())
    assert peaks.nominal is None and peaks.measured is not None and peaks.measured > 1e8
    event = json.loads(json.dumps(peaks.event(), allow_nan=False))
    assert "1024 x 1024 matrices in fp32" in event["measured_is"] and "data sheet" in event["nominal_is"]


def test_memory_in_use_grows_with_what_is_held() -> None:
    before = memory_in_use(CPU)
    held = torch.ones(20_000_000)
    assert memory_in_use(CPU) > before + 40_000_000
    assert held.numel()


def test_half_a_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": ')
    log = JsonLines(path)
    log.append({"a": 2})
    log.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"a": 1}, {"a": 2}]
