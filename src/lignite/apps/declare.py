"""Options of the command line, generated from the fields of the classes that declare them."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from lignite.apps.arguments import parse_numbers
from lignite.methods.options import known_options
from lignite.options import Option, Options, options_of

Command = Callable[..., None]


def takes(argument: str, record: type[Options]) -> Callable[[Command], Command]:
    """Let a command have the options of a class, and give it the record of them as this argument."""
    declared = {name: (each, each.help) for name, each in options_of(record).items()}
    return lambda command: _spread(command, argument, declared, lambda given: record(**given))


def takes_method_options(argument: str) -> Callable[[Command], Command]:
    """Let a command have every option of every method, and give it those that were typed as this argument."""
    declared = {name: (known.option, known.help) for name, known in known_options().items()}
    return lambda command: _spread(command, argument, declared, dict)


def _spread(
    command: Command,
    argument: str,
    declared: Mapping[str, tuple[Option, str]],
    make: Callable[[dict[str, Any]], Any],
) -> Command:
    """The command with an option for each declared one in place of an argument; None is what nobody typed."""
    signature = inspect.signature(command)
    parameters: list[inspect.Parameter] = []
    for each in signature.parameters.values():
        parameters += [_parameter(*option) for option in declared.values()] if each.name == argument else [each]

    @functools.wraps(command)
    def spread(**typed: Any) -> None:
        given = {name: typed.pop(name) for name in declared}
        read = {name: _read(declared[name][0], value) for name, value in given.items() if value not in (None, [])}
        command(**typed, **{argument: make(read)})

    spread.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    spread.__annotations__ = {each.name: each.annotation for each in parameters}
    return spread


def _parameter(option: Option, help: str) -> inspect.Parameter:
    numbers = not option.choices and not option.holds_several and str not in option.kinds
    kind = next((kind for kind in (bool, int, float) if kind in option.kinds and numbers), str)
    shown = typer.Option(
        option.typed or f"--{option.name.replace('_', '-')}",
        metavar=None if option.is_flag else option.metavar,
        rich_help_panel=option.panel,
        show_default=option.unset or option.written(",") or False,
        help=help,
    )
    annotation: Any = Annotated[list[str] | None if option.holds_several else kind | None, shown]
    return inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _read(option: Option, value: Any) -> Any:
    if isinstance(value, list):  # typed several times
        value = ",".join(value)
    if not isinstance(value, str):
        return value
    return parse_numbers(option.name, value) if option.holds_numbers else option.read(value, ",")
