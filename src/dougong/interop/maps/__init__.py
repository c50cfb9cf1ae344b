"""One file a family: how its configuration and its keys read in the Hugging Face layout, and back."""
