"""The figures of `analysis.plot`: for each kind the numbers to draw, and apart from them the drawing."""
