"""A look at a file that nobody has described: its columns, the parts they may play, how far apart its days lie."""
