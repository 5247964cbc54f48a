"""What an input is (`recognise`), and what recordings lie where in it: a file for each kind of source."""
