"""How parts are joined: branch, block, stack, encoder-decoder, pyramid, and the model around them."""
