"""Looking at sessions: what the command line and the browser show, found out once.

`overview` is a session from outside, without its state; `states` reads checkpoints as plain data,
without the application's classes and without counting as use; `values` says what a value is and
what changed; `graph` draws checkpoints as a tree; `times` writes times and sizes for people. All of
it is plain data or text: whoever shows it makes it harmless for the place it is shown in.

Not public: it may change in any version.
"""
