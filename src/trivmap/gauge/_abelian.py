"""U(1): a product of traces depends on how often each link occurs only."""

from collections import Counter
from collections.abc import Iterable

from ._paths import Loop, Path, Site, least_rotation, letters, move


def link_charges(loops: Iterable[Loop]) -> dict[tuple[Site, int], int]:
    """How often each link `(site, mu)` occurs in the loops, reversed links counted negative."""
    charges: Counter = Counter()
    for loop in loops:
        for letter in letters(loop):
            charges[letter.site, letter.mu] += letter.sign
    return {link: charge for link, charge in charges.items() if charge}


def circuits(loops: Iterable[Loop]) -> tuple[Loop, ...]:
    """The simplest loops with the same link charges, in an order that depends on the charges alone.

    Currents are conserved at every site, so that a walk along the remaining charges can only end where it began.
    """
    charges = link_charges(loops)
    found: list[Loop] = []
    while charges:
        (start, mu), charge = min(charges.items())
        # A negative charge is walked against its direction, from the far end.
        site = start if charge > 0 else move(start, (mu + 1,))
        found.append(least_rotation(Loop(site, _simple_circuit(charges, site))))
    return tuple(sorted(found))


def _simple_circuit(charges: dict[tuple[Site, int], int], start: Site) -> Path:
    """Walks along charges, first direction first, back to the start; takes what it walks along away."""
    site, steps = start, []
    while True:
        step = _next_step(charges, site)
        steps.append(step)
        site = move(site, (step,))
        if site == start:
            return tuple(steps)


def _next_step(charges: dict[tuple[Site, int], int], site: Site) -> int:
    for mu in range(len(site)):
        back = move(site, (-(mu + 1),))
        for link, step in (((site, mu), mu + 1), ((back, mu), -(mu + 1))):
            charge = charges.get(link, 0)
            if charge * step > 0:
                charges[link] = charge - (1 if charge > 0 else -1)
                if not charges[link]:
                    del charges[link]
                return step
    raise ValueError(f"the charges are not conserved at {site}: a path was not closed.")
