"""Torch modules, however they come: TorchScript, torch.export archives, Hugging Face directories."""
