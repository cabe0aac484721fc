"""A list costs what is new: values as extents of a session's arena.

A graph writes its whole list of messages at each step, and nearly all of it was written before.
So a session has an *arena*, to which bytes are only ever appended, and a record refers to *extents*
of it. To write a value, the `encoder` serializes it and looks for its bytes in values that this
process knows (`base`). `cover` turns it into pieces: extents of bytes that are there already, small
parts inline, and new bytes to append. The store decides where new bytes go, so their extents are
*resolved* after the commit. To read a value, the bytes of its pieces are joined, and compared with
the checksums in the record (`range_sums` has these for overlapping ranges). `protection` encrypts
and compresses long values in chunks that can be shared in the same way.

Not public: it may change in any version.
"""
