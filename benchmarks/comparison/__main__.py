"""The paper's comparison, measured: PoCoLD beside PIDM and NTED. Results, and what was run, in docs/comparison.md.

    python -m benchmarks.comparison cost
    python -m benchmarks.comparison train DATA --vae VAE --out OUT --steps 2000      # or --minutes 30
    python -m benchmarks.comparison table DATA --vae VAE --out OUT --steps 2000
    python -m benchmarks.comparison figure DATA --vae VAE --out OUT --steps 2000

DATA is a folder of ``pocold synth`` (it has the keypoints), VAE an autoencoder of ``pocold train-autoencoder``.
"""

import argparse

from benchmarks.comparison import cost, figure, runs, table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for module in (cost, runs, table, figure):
        command = commands.add_parser(module.NAME, help=module.__doc__.splitlines()[0] if module.__doc__ else None)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    arguments = parser.parse_args()
    try:
        arguments.run(arguments)
    except ValueError as error:
        parser.exit(2, f"benchmarks.comparison: error: {error}\n")


if __name__ == "__main__":
    main()
