"""Where training rows come from."""
