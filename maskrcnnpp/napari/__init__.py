"""A plugin of napari: find objects in a layer, correct them, and improve the model with them.

:mod:`maskrcnnpp.napari.widget` is all that needs Qt; ``napari.yaml`` says what napari gets.
"""
