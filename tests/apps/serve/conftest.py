import pytest


@pytest.fixture
def person(drawn_folder):
    """The fields of a photograph and its map."""
    return {"photo": drawn_folder / "a.png", "source_pose": drawn_folder / "a.iuv.png"}
