"""The real face models, loaded once."""

from __future__ import annotations

import pytest

from facechain_ext.vision.insight import InsightAnalyzer


@pytest.fixture(scope="session")
def analyzer() -> InsightAnalyzer:
    return InsightAnalyzer(threads=1)
