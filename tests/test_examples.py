"""Examples in docstrings say what the code does, and users find one at whatever they call."""

import doctest
import importlib
from pathlib import Path

import pytest
import torch
from torch import nn

import lib
from lib.probes import effective_smoothness

ROOT = Path(lib.__file__).parent
#: Every module with an example.
MODULES = sorted(
    ".".join(("lib", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
    if ">>> " in path.read_text()
)
#: What an example runs with, beside the names of its module.
NAMES = {"torch": torch, "nn": nn, "effective_smoothness": effective_smoothness}
#: What an example adds nothing to, and why.
WITHOUT = {
    "lib.probes.Loss": "a type",
    "lib.probes.controls.measure": "all others of its module at once, which have examples",
}


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name):
    torch.manual_seed(0)
    found = doctest.testmod(importlib.import_module(name), extraglobs=NAMES)
    assert found.attempted and not found.failed


def public(name):
    """Names of a module that users call: those of `__all__`, or else its own functions and classes."""
    module = importlib.import_module(name)
    own = [word for word, thing in vars(module).items() if getattr(thing, "__module__", "") == name]
    return {word: getattr(module, word) for word in getattr(module, "__all__", own) if not word.startswith("_")}


@pytest.mark.parametrize(
    "name",
    ["lib.models", "lib.norms", "lib.probes", "lib.probes.controls", "lib.probes.precision", "lib.probes.theorems"],
)
def test_all_that_users_call_has_an_example(name):
    callable_ = {f"{name}.{word}": thing for word, thing in public(name).items() if callable(thing)}
    lacking = {place for place, thing in callable_.items() if ">>> " not in (thing.__doc__ or "")}
    assert lacking == {place for place in WITHOUT if place.rpartition(".")[0] == name}
