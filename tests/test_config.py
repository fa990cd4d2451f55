"""A configuration is read whole or refused by the name of what is wrong."""

from pathlib import Path

import pytest

from imaging_pipeline.config import Config, LesionFile, parse_yaml, validated
from imaging_pipeline.errors import ConfigurationError

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def config_of(text: str) -> Config:
    return validated(Config, parse_yaml(text, "file.yaml"), "file.yaml")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_configuration_is_good(path):
    config_of(path.read_text())


def test_the_default_file_says_every_key_and_its_default():
    text = (CONFIGS[0].parent / "default.yaml").read_text()
    stated = config_of(text)
    for name, field in Config.model_fields.items():
        said = parse_yaml(text, "file.yaml")[field.alias or name]
        assert name == "series_roles" or getattr(stated, name) == getattr(Config(), name), name
        if isinstance(said, dict):
            assert said.keys() == type(getattr(stated, name)).model_fields.keys(), name


def test_an_unknown_key_is_refused_with_the_nearest_known_one():
    with pytest.raises(ConfigurationError, match="did you mean 'min_confidence'"):
        config_of("segment: {min_confidance: 0.4}")


def test_a_value_that_does_not_fit_is_refused_by_its_key():
    with pytest.raises(ConfigurationError, match=r"register\.starts"):
        config_of("register: {starts: 0}")


@pytest.mark.parametrize(
    "text",
    ["a: &x [1]\nb: *x", "a: [1", "!!python/object/apply:os.system [true]", "[" * 5000, "a" * 5_000_000],
    ids=["alias", "syntax", "object", "depth", "size"],
)
def test_hostile_yaml_is_refused_in_one_line(text):
    with pytest.raises(ConfigurationError) as refusal:
        parse_yaml(text, "file.yaml")
    assert "\n" not in str(refusal.value)


def test_equal_configurations_have_equal_digests_and_others_do_not():
    assert config_of("visits: {window_days: 14}").digest == Config().digest
    assert config_of("visits: {window_days: 15}").digest != Config().digest


def test_a_lesion_file_holds_prompts_and_reported_values():
    text = """
patients:
  - patient: P1
    lesions:
      - id: L4
        kind: bone
        prompts: [{series: lumbar_ct, line: [[0, 0, 0], [30, 0, 0]]}]
        reported: [{quantity: longest_diameter, value: 3.0, unit: cm, source: text}]
"""
    lesion = validated(LesionFile, parse_yaml(text, "l"), "l").patients[0].lesions[0]
    assert lesion.prompts[0].line == ((0, 0, 0), (30, 0, 0))
    assert str(lesion.reported[0].value) == "3.0"
