"""The figures of `analysis.plot`: for each kind a function for the numbers and one for the drawing."""
