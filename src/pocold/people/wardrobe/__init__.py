"""What people wear and who they are: garments, cuts, fabrics, hair, looks."""
