"""Plug-ins are found by name, loaded when used, and blamed by name and version."""

from importlib.metadata import EntryPoint

import pytest

from imaging_pipeline import __version__, plugins
from imaging_pipeline.errors import PluginError


def test_the_built_in_ones_come_through_the_same_door():
    assert "competition" in plugins.names("segmenters")
    assert plugins.origin("criteria", "recist-1.1") == f"imaging-pipeline {__version__}"


@pytest.mark.parametrize("group", plugins.GROUPS)
def test_every_built_in_plug_in_imports(group):
    for name in plugins.names(group):
        assert callable(plugins.load(group, name))


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(PluginError, match=r"expected one of .*competition"):
        plugins.load("segmenters", "nnunet")


def test_a_plug_in_that_does_not_import_is_named(monkeypatch):
    broken = EntryPoint("broken", "no_such_module:segment", "imaging_pipeline.segmenters")
    monkeypatch.setattr(plugins, "_entries", lambda group: {"broken": broken})
    with pytest.raises(PluginError, match=r"'broken' of an unknown distribution.*ModuleNotFoundError"):
        plugins.load("segmenters", "broken")
