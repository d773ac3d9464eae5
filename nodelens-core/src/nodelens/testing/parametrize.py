"""A pytest decorator that makes one test case of each check of some components."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from nodelens.plugins.specs import MetricSpec

if TYPE_CHECKING:
    from nodelens.testing.checks import Check

_F = TypeVar("_F", bound=Callable[..., object])


def parametrize_with_checks(*components: Any, **options: Any) -> Callable[[_F], _F]:
    """Run a test once for each check of each component.

    Args:
        components: metrics as objects, classes or specifications; losses, statistics, pruning
            methods and recoveries as objects.
        options: further arguments of the kit's function, such as ``parts``; see
            `check_metric`, `check_loss`, `check_statistic`, `check_pass_statistic`, `check_pruner`
            and `check_recovery`.

    Returns:
        A decorator for a test with an argument ``check``, which calls ``check.run()``.

    Raises:
        TypeError: for a component of any other kind.

    Example:
        ::

            @parametrize_with_checks(Peak, Spread(power=2))
            def test_metrics(check):
                check.run()
    """
    import pytest

    checks = [check for component in components for check in _checks(component, options)]
    return pytest.mark.parametrize("check", checks, ids=str)


def _checks(component: Any, options: dict[str, Any]) -> Iterator[Check]:
    yield from _kit_of(component)(component, **options)


def _kit_of(component: Any) -> Callable[..., Iterable[Check]]:
    """Return the function that returns the checks of a component."""
    from nodelens import testing

    if isinstance(component, MetricSpec) or hasattr(component, "score"):
        return testing.check_metric
    if hasattr(component, "row_losses"):
        return testing.check_loss
    if hasattr(component, "plan"):
        return testing.check_pruner
    if hasattr(component, "recover"):
        return testing.check_recovery
    if hasattr(component, "visit"):
        return testing.check_pass_statistic
    if hasattr(component, "update"):
        return testing.check_statistic
    raise TypeError(f"no checks are known for {component!r}; give a metric, statistic or method")
