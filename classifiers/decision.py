"""Which version is to serve after a run, and why.

What serves stays unless it was beaten on the same rows, or can serve no more. A run never puts in service
what a person withdrew, nor what is not surely better than guessing.
"""

from collections.abc import Callable, Sequence

from classifiers.contest import Contestant


def decided(
    ranked: Sequence[Contestant], new: str, serves: str | None, is_withdrawn: Callable[[str], bool]
) -> tuple[str | None, str]:
    """The version, and why, in a few sentences.

    Args:
        ranked: of the bake-off, the best first.
        new: the version of this run.
        serves: that which serves now.
        is_withdrawn: whether a person withdrew a version, or an equal one.
    """
    before = next((one for one in ranked if one.version == serves), None)
    judged = [one for one in ranked if one.judgement is not None]
    if before is not None and before.judgement is None and not before.gives_way:
        own = next(one for one in judged if one.version == new)
        return serves, (
            f"The version {serves} goes on serving, as it cannot be compared ({before.excluded}). The new "
            f"version is stored, with {_figure(own)}; promote it by name if it is to serve."
        )
    passed: list[str] = []
    for place, one in enumerate(judged):
        barred = None if one.version == serves else _barred(one, is_withdrawn)
        if barred is None:
            return one.version, _told(one, judged[place + 1 :], passed, new, serves, before)
        passed.append(f"Version {one.version} does not serve: {barred}.")
    return serves, " ".join([*passed, "Promote a version by name if it is to serve."])


def _barred(one: Contestant, is_withdrawn: Callable[[str], bool]) -> str | None:
    """Why no run puts a version in service."""
    assert one.judgement is not None
    if is_withdrawn(one.version):
        return "an equal one was withdrawn"
    found, guessing = one.judgement.metrics["balanced_accuracy"], 1 / one.judgement.outcome.labels
    if found.low <= guessing:
        return (
            f"its balanced accuracy of {found.value:.3f} ({found.low:.3f} to {found.high:.3f}) is not surely "
            f"above the {guessing:.3f} of guessing"
        )
    return None


def _told(
    best: Contestant,
    behind: Sequence[Contestant],
    passed: Sequence[str],
    new: str,
    serves: str | None,
    before: Contestant | None,
) -> str:
    figure = _figure(best)
    if behind:
        figure += f"; the next best is {behind[0].version} with {behind[0].rank[0]:.3f}"
    first = "it ranks first of those that may" if passed else "it ranks first"
    which = "The new version serves" if best.version == new else f"The earlier version {best.version} serves"
    if best.version == serves:
        told = f"The version {serves} goes on serving: {first} with {figure}."
    elif serves is None:
        told = f"{which}, as none did before, with {figure}."
    elif before is None:
        told = f"{which}, as {serves} is gone: {first} with {figure}."
    elif before.judgement is None:
        told = f"{which}, as {serves} cannot be compared ({before.excluded}): {figure}."
    else:
        told = f"{which}: {first} with {figure}."
    return " ".join([told, *passed, *_other_aims([best, *behind], new, serves)])


def _other_aims(judged: Sequence[Contestant], new: str, serves: str | None) -> list[str]:
    """That thresholds were chosen for different things, which macro precision does not tell."""
    aims = {one.version: one.aim for one in judged if one.version in (new, serves)}
    if len(set(aims.values())) < 2:
        return []
    return [f"The threshold of {serves} is for {aims[serves or '']}, and that of {new} for {aims[new]}."]


def _figure(one: Contestant) -> str:
    return f"a macro precision of {one.rank[0]:.3f} on rows that no version compared has seen"
