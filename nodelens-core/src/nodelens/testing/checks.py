"""Small named checks, and a function that runs all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import frozen


@frozen(eq=False)
class Check:
    """One named check; `run` raises `AssertionError` with what went wrong."""

    name: str
    run: Callable[[], None]

    def __str__(self) -> str:
        return self.name


def failures(checks: Iterable[Check]) -> list[str]:
    """Run all checks and return one line for each that failed.

    Args:
        checks: checks of any component, such as those of `check_metric`.

    Returns:
        Lines ``name: what went wrong``, none if all checks pass.
    """
    lines = [_failure(check) for check in checks]
    return [line for line in lines if line is not None]


def _failure(check: Check) -> str | None:
    try:
        check.run()
    except AssertionError as error:
        return f"{check.name}: {error}"
    except Exception as error:  # noqa: BLE001 - the code under test is anyone's
        return f"{check.name}: raised {type(error).__name__}: {error}"
    return None


def demand(condition: object, message: str) -> None:
    """Raise `AssertionError` with `message` unless `condition` is true, even in ``python -O``."""
    if not condition:
        raise AssertionError(message)
