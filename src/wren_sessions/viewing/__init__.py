"""Looking at sessions, for the command line and the browser.

`overview` describes a session from outside, without its state. `states` reads checkpoints as plain
data, without the application's classes and without counting as use. `values` describes values and
changes, `steps` tells what checkpoints changed and draws them as a tree, and `times` writes times
and sizes for people. All of it is plain data or text. The code that shows it must make it safe for
the place where it is shown.

Not public: it may change in any version.
"""
