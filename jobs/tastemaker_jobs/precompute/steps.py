"""How the steps of a run are carried out: here one after another; `on_ray_precompute` has another way."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

__all__ = ["InThisProcess", "Steps"]

Argument = TypeVar("Argument")
Answer = TypeVar("Answer")


class Steps(Protocol):
    """Carries out functions for many arguments. Whatever they return is small; answers come in any order."""

    def each(self, function: Callable[[Argument], Answer], arguments: Iterable[Argument]) -> Iterator[Answer]:
        """Call a function for each argument.

        Args:
            function: Pickleable, done again where a worker died.
            arguments: Small, and pickleable.
        """

    def with_model(
        self,
        before: Callable[[Argument], Argument],
        load: Callable[[], Callable[[Argument], Answer]],
        arguments: Iterable[Argument],
    ) -> Iterator[Answer]:
        """Call a function that is costly to make, for each argument.

        Args:
            before: Called first, for the same argument, without the model.
            load: Makes the function, once for each worker.
            arguments: Small, and pickleable.
        """


class InThisProcess:
    """One after another."""

    def each(self, function: Callable[[Argument], Answer], arguments: Iterable[Argument]) -> Iterator[Answer]:
        """See `Steps.each`."""
        return map(function, arguments)

    def with_model(
        self,
        before: Callable[[Argument], Argument],
        load: Callable[[], Callable[[Argument], Answer]],
        arguments: Iterable[Argument],
    ) -> Iterator[Answer]:
        """See `Steps.with_model`."""
        function: Callable[[Argument], Any] | None = None
        for argument in arguments:
            function = function or load()
            yield function(before(argument))
