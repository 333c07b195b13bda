"""Several processes at one run: what each finds reaches all, in order and once; alone nothing changes."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing

from clm_dl.tasks.processes import each, gathered, share, together


def squares(number: int) -> list[torch.Tensor]:
    return each(lambda value: torch.tensor([value, value**2]), range(number))


def test_a_process_alone_does_everything() -> None:
    with together():
        assert share() == {"rank": 0, "world_size": 1}
        assert gathered("mine") == ["mine"]
        assert torch.stack(squares(3)).tolist() == [[0, 0], [1, 1], [2, 4]]


def process(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    assert share()["world_size"] == 1, "nobody shares unasked: the other may have ended"
    with together():
        assert share() == {"rank": rank, "world_size": 2}
        assert [part["z"].item() for part in gathered({"z": torch.tensor(rank)})] == [0, 1]
        found = [squares(number) for number in (5, 2, 1, 0)]  # one more, as many, fewer than processes
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_processes_divide_the_work_and_all_have_the_whole(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(process, (str(tmp_path),), nprocs=2)
    expected = [[[value, value**2] for value in range(number)] for number in (5, 2, 1, 0)]
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert [[tensor.tolist() for tensor in part] for part in found] == expected
