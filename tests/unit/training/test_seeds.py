import torch

from labelrepair.training.seeds import derive_seed, generator


def test_known_value():
    """Frozen: blake2b of "7/train/12/order", 8 bytes little endian, halved."""
    assert derive_seed(7, "train", 12, "order") == 7329383785266509153


def test_every_part_and_its_place_matters():
    seeds = [
        derive_seed(0),
        derive_seed(1),
        derive_seed(0, "order"),
        derive_seed(0, 1, "order"),
        derive_seed(0, "order", 1),
        derive_seed(0, 1, 2, "order"),
        derive_seed(0, 12, "order"),
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_generators_of_one_name_agree_and_leave_the_global_one_alone():
    before = torch.get_rng_state()
    draws = [torch.rand(5, generator=generator("cpu", 3, "a", k)) for k in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.equal(before, torch.get_rng_state())
