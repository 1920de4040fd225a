"""After `kill -9` the same command ends with the bits of a run that nobody disturbed."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from proof import records, run
from runs import DIGITS, SMALL, killed_in, result, the_result

FASHION = os.environ.get("SFA_BENCH_FASHION", "/usr/share/datasets/fashion-mnist")
KILLED = {
    "two networks, bf16": (*DIGITS, "method=dividemix", "plugin=sfa", "precision=bf16"),
    "two networks": (*DIGITS, "method=dividemix", "plugin=sfa"),
    "one network": (*DIGITS, "method=ce", "plugin=sfa"),
    "averages and tables": (*DIGITS, "method=elr", "plugin=none", "method.plus=true"),
    "full network": (
        *("method=dividemix", "plugin=sfa", "dataset=fashion_mnist", f"data_dir={FASHION}"),
        *("imb_factor=0.01", "batch_size=64"),
    ),
}
REHEARSED = "two networks"


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_run_goes_on_to_the_same_bits(name, device, rehearse, tmp_path):
    if rehearse and name != REHEARSED:
        pytest.skip("rehearsed with one of them: the others differ by a word, and a CPU takes minutes for each")
    words = [*SMALL, *KILLED[name], f"device={device.type}"]
    with ThreadPoolExecutor() as pool:
        straight = pool.submit(run, *words, runs=tmp_path / "straight")
        for epoch in (1, 5):  # in the warm-up, and once networks select
            killed_in(epoch, *words, runs=tmp_path / "killed")
        assert "going on after epoch" in run(*words, runs=tmp_path / "killed")
        straight.result()
    ours, theirs = (the_result(tmp_path / runs) for runs in ("killed", "straight"))
    assert ours["state"] == "done"
    assert ours == theirs


def test_a_shared_warmup_gives_the_same_bits(device, tmp_path):
    words = ["-m", *SMALL, *DIGITS, "method=dividemix", "plugin=sfa,sfa_release", f"device={device.type}"]
    with ThreadPoolExecutor() as pool:
        sweeps = {"shared": (), "apart": ("share_warmup=false",)}
        list(pool.map(lambda name: run(*words, *sweeps[name], runs=tmp_path / name), sweeps))
    shared, apart = (
        {record["hash"]: (record, result(folder)) for folder, record in records(tmp_path / name)} for name in sweeps
    )
    assert sum(bool(record["cost"].get("shared")) for record, _ in shared.values()) == 1
    # Sharing is no part of a run's identity, so that both have the same hashes.
    assert {name: kept for name, (_, kept) in shared.items()} == {name: kept for name, (_, kept) in apart.items()}


def test_a_run_of_the_cpu_goes_on_on_the_device_and_the_other_way_round(device, rehearse, tmp_path):
    words = [*SMALL, *DIGITS, "method=dividemix", "plugin=sfa"]
    for first, second in (("cpu", device.type), (device.type, "cpu"))[: 1 if rehearse else 2]:
        runs = tmp_path / f"{first}-{second}"
        killed_in(4, *words, f"device={first}", runs=runs)
        assert "going on after epoch" in run(*words, f"device={second}", runs=runs)
        ((_, record),) = records(runs)
        assert record["state"] == "done"
        assert record["environment"]["device"] == [second]
