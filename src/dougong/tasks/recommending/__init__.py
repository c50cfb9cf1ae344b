"""What recommending the next item needs: random numbers by place, windows of histories, and simple rules beside it."""
