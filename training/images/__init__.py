"""How the shipped image models were made: digits drawn from fonts, a small UNet, a text encoder, a judge of both."""
