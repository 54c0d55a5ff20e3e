"""Find what is wrong with a watch's definition before it runs."""
