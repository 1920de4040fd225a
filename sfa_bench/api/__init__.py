"""The suite from Python: `run`, `sweep`, `load`, and what they return. Torch is imported only where something is
trained or predicted.
"""
