"""Widgets for options, made from the fields that declare them: name, choices, default and help stand there alone."""

from collections.abc import Collection
from typing import Any

import streamlit as st

from lignite.apps.arguments import parse_numbers
from lignite.apps.dashboard.look import plain
from lignite.options import COST, Option, Options, options_of


def ask_options(
    declared: type[Options], key: str, *, first: Collection[str] = (), leave: Collection[str] = ()
) -> dict[str, Any]:
    """Options that a reader has set to something else than their default.

    Those named `first` stand in the open, the others under headings that one opens; those of `leave` are not asked.
    """
    listed = {name: each for name, each in options_of(declared).items() if name not in leave}
    found = {name: ask_option(each, key) for name, each in listed.items() if name in first}
    for panel in dict.fromkeys(each.panel for each in listed.values()):
        inner = {name: each for name, each in listed.items() if each.panel == panel and name not in first}
        if inner:
            with st.expander(panel if panel == COST else "More options" if first else panel):
                found |= {name: ask_option(each, key) for name, each in inner.items()}
    return {name: value for name, value in found.items() if value != listed[name].default}


def ask_option(option: Option, key: str) -> Any:
    """One option's value."""
    label = plain(option.name.replace("_", " ").capitalize())
    shown: dict[str, Any] = {"help": plain(option.help.replace("\\[", "[")), "key": f"{key}.{option.name}"}
    unset = option.unset or option.written(", ") or "none"
    if bool in option.kinds and option.default is None:  # left open is a third answer
        return st.selectbox(label, (True, False), None, {True: "yes", False: "no"}.get, placeholder=unset, **shown)
    if bool in option.kinds:
        return st.checkbox(label, value=bool(option.default), **shown)
    if option.choices and option.holds_several:
        return tuple(st.multiselect(label, option.choices, placeholder=unset, **shown)) or option.default
    numbers = {int, float} & set(option.kinds)
    if option.choices and not numbers:
        place = option.choices.index(option.default) if option.default in option.choices else None
        return st.selectbox(label, option.choices, index=place, placeholder=unset, **shown)
    if numbers == {int} and not option.holds_several and str not in option.kinds:
        return st.number_input(label, value=option.default, step=1, placeholder=unset, **shown)
    return _read(option, st.text_input(label, value="", placeholder=unset, **shown))


def _read(option: Option, text: str) -> Any:
    if not text.strip():
        return option.default
    return parse_numbers(option.name, text) if option.holds_numbers else option.read(text, ",")
