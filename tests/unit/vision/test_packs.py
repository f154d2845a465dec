"""Face model packs: the shipped one, the user's, and none."""

from __future__ import annotations

from pathlib import Path

import pytest

from facechain_ext.errors import WeightsMissing
from facechain_ext.vision.packs import PACKS, SHIPPED, available_packs, pack_folder


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    for name in ("buffalo_l", "empty", SHIPPED):
        (tmp_path / name).mkdir()
    for name in ("buffalo_l", SHIPPED):
        (tmp_path / name / "det.onnx").write_bytes(b"x")
    return tmp_path


def test_the_users_packs_are_found_and_the_shipped_one_is_ours(installed: Path) -> None:
    assert available_packs(installed) == [SHIPPED, "buffalo_l"]
    assert available_packs(None) == [SHIPPED]
    assert pack_folder("buffalo_l", installed) == installed / "buffalo_l"
    assert pack_folder(SHIPPED, installed) == PACKS / SHIPPED


@pytest.mark.parametrize("name", ["antelopev2", "empty", "", "..", "../packs/buffalo_l", "buffalo_l/"])
def test_what_is_not_there_says_where_to_put_it(name: str, installed: Path) -> None:
    with pytest.raises(WeightsMissing, match="is not installed") as said:
        pack_folder(name, installed)
    assert str(installed) in str(said.value)
    assert SHIPPED in str(said.value)
