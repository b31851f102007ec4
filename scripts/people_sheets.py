"""Draw the contact sheets of docs/people.md: 6 people x 6 pictures with their maps, two seeds of the population.

python scripts/people_sheets.py
"""

from pathlib import Path

from pocold.data.synthetic import SyntheticConfig, draw_view
from pocold.people.sheets import pose_sheet, write_people_sheet

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
PEOPLE = {"people-1.jpg": (1, (0, 2, 3, 4, 5, 6)), "people-2.jpg": (2, (0, 1, 2, 3, 4, 5))}


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, (seed, identities) in PEOPLE.items():
        config = SyntheticConfig(seed=seed)
        write_people_sheet([[draw_view(config, i, v)[0] for v in range(6)] for i in identities], IMAGES / name)
        print(name, (IMAGES / name).stat().st_size)
    pose_sheet().quantize(64).save(IMAGES / "poses.png", optimize=True)
    print("poses.png", (IMAGES / "poses.png").stat().st_size)


if __name__ == "__main__":
    main()
