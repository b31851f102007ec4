import pytest
from trees import TREES, People, Tree, draw_people


@pytest.fixture(scope="session")
def people() -> People:
    return draw_people()


@pytest.fixture(scope="session")
def whole_trees(tmp_path_factory, people) -> dict[str, Tree]:
    """Every layout, once; tests must not change them."""
    place = tmp_path_factory.mktemp("trees")
    for name in TREES:
        (place / name).mkdir()
    return {name: build(place / name / "data", people) for name, build in TREES.items()}


@pytest.fixture
def tree(request, tmp_path, whole_trees) -> Tree:
    """A layout of one's own, to break: parametrise with ``indirect=["tree"]``."""
    return whole_trees[request.param].copy(tmp_path / "data")
