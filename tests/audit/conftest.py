"""Features of the labelled answers, computed once for all tests of training."""

from __future__ import annotations

from pathlib import Path

import pytest

from freehold.audit.classifier import Classifier
from freehold.audit.labelled import read_speechmap, with_altered
from freehold.audit.training import Design, xstest_design


@pytest.fixture(scope="session")
def design(shared_data: Path) -> Design:
    """SpeechMap's answers, and the altered ones."""
    return Design.of(with_altered(read_speechmap(shared_data / "speechmap")))


@pytest.fixture(scope="session")
def always(shared_data: Path) -> Design:
    """The half of XSTest that is trained on."""
    return xstest_design(shared_data / "xstest")


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    """The packaged one."""
    return Classifier.load()
