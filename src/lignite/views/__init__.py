"""Ways to look at a result: terminal, picture, page. They read the Dataset and nothing else."""
