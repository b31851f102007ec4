"""``python -m pocold``: the command line, also for ``torchrun -m pocold``."""

from pocold.cli import main

if __name__ == "__main__":
    main()
