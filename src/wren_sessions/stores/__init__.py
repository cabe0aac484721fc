"""The stores that come with the package: one module each, none imports another.

Public is what the API reference shows; the rest may change in any version.
"""
