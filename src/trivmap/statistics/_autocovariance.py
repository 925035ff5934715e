"""Autocovariance of chains, all lags at once or only as many as are needed."""

from typing import Any

import numpy as np

# Transforms of rows that stay in the cache: half the time of one long transform.
_NUMBERS_AT_ONCE = 1 << 15


def autocovariance(deltas: np.ndarray, lags: int | None = None) -> np.ndarray:
    """Mean of d(i) d(i + t) for t = 0 ... lags - 1 over fluctuations (chains, n), pooled over the chains.

    By default all lags up to n // 2.
    """
    chains, n = deltas.shape
    most = max(n // 2, 1)
    count = most if lags is None else min(lags, most)
    products = _few(deltas, count) if 8 * count < n else _all(deltas, count)
    return products / (chains * (n - np.arange(count)))


def _all(deltas: np.ndarray, lags: int) -> np.ndarray:
    size = 1 << (deltas.shape[1] + lags - 1).bit_length()
    spectrum = np.fft.rfft(deltas, n=size, axis=1)
    return np.fft.irfft(np.sum(np.abs(spectrum) ** 2, axis=0), n=size)[:lags]


def _few(deltas: np.ndarray, lags: int) -> np.ndarray:
    """Blocks as long as the largest lag: pairs within a block, and between neighbouring blocks.

    Blocks b padded to twice their length have the spectra B_k; |B_k|^2 holds the pairs within block k, conj(B_k) B_{k+1}
    those between blocks k and k + 1, at lags that are shifted by one block.
    """
    from scipy import fft

    chains, n = deltas.shape
    blocks = -(-n // lags)
    padded = np.zeros((chains, blocks * lags))
    padded[:, :n] = deltas
    rows = max(1, _NUMBERS_AT_ONCE // lags)
    within, between = np.zeros(lags + 1, complex), np.zeros(lags + 1, complex)
    for chain in padded.reshape(chains, blocks, lags):
        last = np.zeros(lags + 1, complex)
        for start in range(0, blocks, rows):
            spectra: Any = fft.rfft(chain[start : start + rows], n=2 * lags, axis=1)
            conjugate = np.conj(spectra)
            within += np.einsum("kf,kf->f", conjugate, spectra)
            between += np.conj(last) * spectra[0] + np.einsum("kf,kf->f", conjugate[:-1], spectra[1:])
            last = spectra[-1]
    products = np.fft.irfft(within, 2 * lags)[:lags]
    products[1:] += np.fft.irfft(between, 2 * lags)[lags + 1 :]
    return products
