"""The rooms that know transformers: loading, tokens, splitting."""
