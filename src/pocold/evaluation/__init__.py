"""How good drawn pictures are: metrics, the published protocols, baselines, reports (docs/evaluation.md)."""
