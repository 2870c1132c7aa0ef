"""Hugging Face causal language models: what their files say, and graphs that the text_generation backend opens."""
