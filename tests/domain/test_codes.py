"""Finding sites against the dictionary of SNOMED CT that pydicom carries."""

import pytest
from pydicom.sr.codedict import codes

from imaging_pipeline.domain.codes import SITES, VERTEBRAE, site_named

NOT_IN_PYDICOM = {"axilla", "axillary lymph node", "rib", "ilium", "lymph node"}


@pytest.mark.parametrize("name", sorted(set(SITES) - NOT_IN_PYDICOM))
def test_a_site_has_the_code_that_the_standard_gives_it(name):
    keyword = f"{name}Vertebra" if name in VERTEBRAE else "".join(word.capitalize() for word in name.split())
    assert SITES[name].value == getattr(codes.SCT, keyword).value


def test_each_site_has_a_code_of_its_own():
    assert len({code.value for code in SITES.values()}) == len(SITES) == 52


@pytest.mark.parametrize("name", ["L3", " l3 ", "Third lumbar vertebra"])
def test_a_site_is_known_by_level_or_meaning_whatever_its_case(name):
    assert site_named(name) == VERTEBRAE["L3"]


@pytest.mark.parametrize("name", ["", "L6", "spine"])
def test_what_has_no_code_is_no_site(name):
    assert site_named(name) is None
