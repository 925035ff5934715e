"""A number with its statistical error."""

import dataclasses
import math
from typing import Any

import numpy as np


def format_estimate(value: float, error: float | None) -> str:
    """Concise notation with two significant digits of the error: `0.69753(12)`, `12.3(1.5)`; from 100 on `4321(123)`.

    An error that is zero, missing or not finite leaves the value in full (`0.5`, `0.5(nan)`).
    """
    if error is None or error == 0.0:
        return f"{value:.12g}"
    if not (math.isfinite(value) and math.isfinite(error)):
        return f"{value:.8g}({error:.2g})"
    # The exponent is that of the rounded error: 0.0996 becomes 0.10.
    error = abs(error)
    digits = 1 - math.floor(math.log10(float(f"{error:.1e}")))
    magnitude = max(abs(value), error)
    if digits > 12 or magnitude >= 1e9:
        exponent = math.floor(math.log10(magnitude))
        scale = 10.0**exponent
        return f"{_plain(value / scale, error / scale, max(digits + exponent, 0))}e{exponent:+03d}"
    return _plain(value, error, max(digits, 0))


def _plain(value: float, error: float, decimals: int) -> str:
    shown = f"{error:.{decimals}f}"
    if shown.startswith("0."):
        shown = shown.replace(".", "").lstrip("0")
    return f"{value:.{decimals}f}({shown})"


def merged_cautions(*cautions: tuple[str, ...]) -> tuple[str, ...]:
    """Each once, in order."""
    return tuple(dict.fromkeys(caution for group in cautions for caution in group))


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean value with its standard error; prints as `0.69753(12)`, or `0.69753(12)!` where there are cautions.

    - `value`, `error`: floats, or arrays of one shape for vector observables. Of a complex value the error is complex: its
      parts are the errors of real and imaginary part; it prints as `0.6975(12) + 0.0012(9)i`;
    - `tau_int`, `dtau_int`: integrated autocorrelation time and its error in units of one measurement, 1/2 for
      independent data (U. Wolff, hep-lat/0306017); `None` where the data carry no Monte Carlo time;
    - `derror`: the error of `error`, where known;
    - `cautions`: reasons why the error cannot be trusted, sentences: a short chain, few effective weights, two modes.

        >>> print(tm.Estimate(0.69753, 0.00012))
    """

    value: Any
    error: Any
    tau_int: Any = None
    dtau_int: Any = None
    derror: Any = None
    cautions: tuple[str, ...] = ()

    def pull(self, exact: Any, exact_error: Any = 0.0) -> Any:
        """Deviation from a reference in standard errors, `(value - exact) / sqrt(error^2 + exact_error^2)`.

        `exact` may be an `Estimate` itself. With no error at all the pull is 0 at equality and infinite otherwise. Of a
        complex value it is complex: one pull for each part.
        """
        if isinstance(exact, Estimate):
            exact, exact_error = exact.value, exact.error
        if np.iscomplexobj(self.value):
            pulls = (Estimate(f(self.value), f(self.error)).pull(f(exact), f(exact_error)) for f in (np.real, np.imag))
            return next(pulls) + 1j * next(pulls)
        difference = np.asarray(self.value, float) - np.asarray(exact, float)
        sigma = np.hypot(np.asarray(self.error, float), np.asarray(exact_error, float))
        difference, sigma = np.broadcast_arrays(difference, sigma)
        with np.errstate(divide="ignore", invalid="ignore"):
            pull = np.where((sigma == 0.0) & (difference == 0.0), 0.0, difference / sigma)
        return float(pull) if pull.ndim == 0 else pull

    @classmethod
    def of(cls, value: Any, error: Any, *rest: Any, cautions: tuple[str, ...] = ()) -> "Estimate":
        """From arrays, with plain floats where they have no axes."""
        fields = [np.asarray(x, np.complex128 if np.iscomplexobj(x) else np.float64) for x in (value, error, *rest)]
        return cls(*(x.item() if x.ndim == 0 else x for x in fields), cautions=cautions)

    def __str__(self) -> str:
        return self._numbers() + ("!" if self.cautions else "")

    def _numbers(self) -> str:
        if np.ndim(self.value) == 0:
            return _formatted(self.value, self.error)
        values = np.ravel(np.asarray(self.value))
        errors = np.ravel(np.broadcast_to(np.asarray(self.error), np.shape(self.value)))
        return "[" + ", ".join(_formatted(v, e) for v, e in zip(values, errors, strict=True)) + "]"


def _formatted(value: Any, error: Any) -> str:
    if not np.iscomplexobj(value):
        return format_estimate(float(value), None if error is None else float(error))
    spread = (None, None) if error is None else (float(np.real(error)), float(np.imag(error)))
    real, imaginary = format_estimate(float(value.real), spread[0]), format_estimate(float(value.imag), spread[1])
    return f"{real} - {imaginary[1:]}i" if imaginary.startswith("-") else f"{real} + {imaginary}i"
