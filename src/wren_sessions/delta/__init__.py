"""A list costs what is new: values as extents of a session's arena.

Not public: it may change in any version.
"""
