"""The Gamma method of trivmap against pyerrors: ten synthetic chains, and the time for a long one.

    python scripts/benchmarks/gamma_method.py [--length N] [--repeats N]

The chains are x_t = a x_{t-1} + noise with tau_int = (1 + a) / (2 (1 - a)); the errors are those of the mean of x^2.
"""

import argparse
import time
import warnings

import numpy as np
from scipy.signal import lfilter

import trivmap as tm

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # deprecations inside pyerrors and its imports
    import pyerrors


def autoregressive(seed: int, n: int, a: float) -> np.ndarray:
    noise = np.sqrt(1 - a * a) * np.random.default_rng(seed).normal(size=n + 1000)
    return lfilter([1.0], [1.0, -a], noise)[1000:]


def ours(data: np.ndarray) -> tuple[float, float]:
    estimate = tm.statistics.gamma_method(data)
    return estimate.error, estimate.tau_int


def theirs(data: np.ndarray) -> tuple[float, float]:
    obs = pyerrors.Obs([data], ["run"])
    obs.gamma_method()
    return obs.dvalue, obs.e_tauint["run"]


def seconds(function, data: np.ndarray, repeats: int) -> float:
    function(data)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function(data)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    print("   a   error trivmap / pyerrors   tau_int trivmap  pyerrors")
    for seed in range(10):
        a = 0.05 + 0.1 * seed
        data = autoregressive(seed, 20_000, a) ** 2
        (error, tau), (error_2, tau_2) = ours(data), theirs(data)
        print(f"{a:.2f}   {error / error_2:24.5f}   {tau:15.3f}  {tau_2:8.3f}")
    for a in (0.5, 0.9, 0.99, 0.999):
        data = autoregressive(0, options.length, a)
        fast, slow = seconds(ours, data, options.repeats), seconds(theirs, data, options.repeats)
        print(
            f"{options.length} measurements, tau_int = {0.5 * (1 + a) / (1 - a):.1f}: trivmap {1e3 * fast:.1f} ms, "
            f"pyerrors {1e3 * slow:.1f} ms, ratio {slow / fast:.1f}"
        )


if __name__ == "__main__":
    main()
