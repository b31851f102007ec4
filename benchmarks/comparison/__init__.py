"""The paper's comparison, measured: PoCoLD beside PIDM and NTED; results in docs/comparison.md."""
