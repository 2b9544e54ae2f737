"""`lignite models`: what comes with lignite."""

import json

EXAMPLES = """[bold]Examples[/bold]

  lignite models

  lignite flow --model tiny-sentiment "A superb film."

  lignite check tiny-sentiment"""


def models() -> None:
    """List the models that come with lignite."""
    from lignite.zoo import bundled

    for name, folder in bundled().items():
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
        print(
            f"{name}  {', '.join(config['architectures'])}, {config['num_hidden_layers']} layers, "
            f"{config['num_attention_heads']} heads, width {config['hidden_size']}, {size:.1f} MB"
        )
