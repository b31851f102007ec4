"""Draw the pictures that `pocold ui` begins with into its folder: two people with their maps, and all named poses.

python scripts/ui_pictures.py
"""

from PIL import Image

from pocold.apps.demo import SOURCE_POSE, photograph
from pocold.apps.ui.example import PEOPLE, PICTURES
from pocold.imaging.metadata import write_png
from pocold.people.rendering.render import random_person
from pocold.people.sheets import pose_sheet

SIZE = (256, 176)


def main() -> None:
    for name, person in PEOPLE.items():
        picture = photograph(random_person(*person), SOURCE_POSE, SIZE)
        about = {"person": list(person), "pose": SOURCE_POSE}
        write_png(Image.fromarray(picture.image), PICTURES / f"{name}.png", about)
        picture.densepose.write(PICTURES / f"{name}.iuv.png")
        Image.fromarray(picture.garments).save(PICTURES / f"{name}.garments.png")
    pose_sheet().quantize(64).save(PICTURES / "poses.png", optimize=True)
    for file in sorted(PICTURES.iterdir()):
        print(file.name, file.stat().st_size)


if __name__ == "__main__":
    main()
