import numpy as np

from magma_policy_ros.control_experiment import observe, policy_name


def test_blind_sees_grey_and_deaf_reads_the_same_always():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    seen, read = observe(pixels, "put the carrot on the plate", "none")
    assert seen is pixels and read == "put the carrot on the plate"
    seen, read = observe(pixels, "put the carrot on the plate", "blind")
    assert seen.shape == pixels.shape and seen.dtype == np.uint8 and (seen == 128).all()
    assert read == "put the carrot on the plate"
    seen, read = observe(pixels, "put the carrot on the plate", "deaf")
    assert seen is pixels and read == observe(pixels, "stack the green block on the yellow block", "deaf")[1]


def test_results_name_the_control():
    assert [policy_name("magma-tiny", c) for c in ("none", "blind", "deaf")] == [
        "magma-tiny", "magma-tiny+blind", "magma-tiny+deaf",
    ]  # fmt: skip
