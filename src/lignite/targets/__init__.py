"""What is explained of a model's output, and how models are asked."""
