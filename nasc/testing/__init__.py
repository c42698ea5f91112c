"""Contracts a plug-in or model author can run, and the small models nasc tests itself on.

:func:`nasc.testing.network.check_model` checks that nasc sees through a model; :mod:`nasc.testing.architectures` has a
model for each structure a tracer must see through.
"""
