"""How a run uses its device, and what follows when the memory of a graphics card runs out."""

from __future__ import annotations

import pytest
import torch

from c2p_core.compute_plan import Attempt, plan_attempts, run_first_that_fits

CUDA, MPS, CPU = (torch.device(name) for name in ("cuda", "mps", "cpu"))


def describe(attempt: Attempt) -> str:
    plan = attempt.plan
    parts = [plan.device.type, str(plan.faces_at_once), plan.recorded and "recorded", plan.lean and "lean"]
    return " ".join(part for part in parts if part)


def list_notices(attempts: tuple[Attempt, ...]) -> list[str | None]:
    return [None if attempt.notice is None else attempt.notice.code for attempt in attempts]


def test_on_cuda_each_step_takes_less_memory_and_the_last_none() -> None:
    attempts = plan_attempts(CUDA, faces=3)
    assert [describe(attempt) for attempt in attempts] == [
        "cuda 3 recorded",
        "cuda 1 recorded",
        "cuda 1",
        "cuda 1 lean",
        "cpu 1",
    ]
    assert list_notices(attempts) == [
        None,
        "faces-in-turns",
        "search-without-graphs",
        "search-in-turns",
        "photo-on-processor",
    ]


def test_mps_has_the_same_steps_but_nothing_is_recorded() -> None:
    attempts = plan_attempts(MPS, faces=2)
    assert [describe(attempt) for attempt in attempts] == ["mps 2", "mps 1", "mps 1 lean", "cpu 1"]
    assert list_notices(attempts) == [None, "faces-in-turns", "search-in-turns", "photo-on-processor"]


def test_a_single_face_is_not_tried_twice_in_the_same_way() -> None:
    assert "faces-in-turns" not in list_notices(plan_attempts(CUDA, faces=1))


def test_a_crowd_is_searched_in_groups() -> None:
    assert plan_attempts(CUDA, faces=100)[0].plan.faces_at_once == 8


def test_on_a_processor_faces_are_searched_one_by_one_and_nothing_else_is_tried() -> None:
    assert [describe(attempt) for attempt in plan_attempts(CPU, faces=3)] == ["cpu 1"]


def out_of_memory(device: torch.device) -> RuntimeError:
    if device.type == "mps":
        # As torch says it; there is no class for it.
        return RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.00 GB)")
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize("device", [CUDA, MPS])
def test_each_step_is_tried_until_one_fits_and_models_are_released_between_them(device: torch.device) -> None:
    attempts = plan_attempts(device, faces=3)
    expected = [describe(attempt) for attempt in attempts]
    for failures in range(len(attempts)):
        tried: list[str] = []
        released: list[int] = []

        def work(attempt: Attempt, tried: list[str] = tried, failures: int = failures) -> str:
            tried.append(describe(attempt))
            if len(tried) <= failures:
                raise out_of_memory(attempt.plan.device)
            return describe(attempt)

        def release(tried: list[str] = tried, released: list[int] = released) -> None:
            released.append(len(tried))

        assert run_first_that_fits(release, attempts, work) == expected[failures]
        assert tried == expected[: failures + 1]
        assert released == list(range(1, failures + 1))


def test_the_error_says_so_if_even_the_processor_runs_out_of_memory() -> None:
    def work(attempt: Attempt) -> None:
        raise out_of_memory(attempt.plan.device)

    with pytest.raises(torch.OutOfMemoryError):
        run_first_that_fits(lambda: None, plan_attempts(CUDA, faces=1), work)


def test_any_other_error_ends_the_run_at_once() -> None:
    tried: list[str] = []

    def work(attempt: Attempt) -> None:
        tried.append(describe(attempt))
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal"):
        run_first_that_fits(lambda: None, plan_attempts(CUDA, faces=1), work)
    assert tried == ["cuda 1 recorded"]
