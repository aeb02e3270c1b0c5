"""Rule files: YAML in, `killswitch.model.Rollout` out, or every error at once.

``document`` reads YAML with line numbers, ``units`` and ``selectors`` the texts in it. ``values`` and
``schema`` say which keys and values there are, and ``schema_errors`` what is wrong with them. ``presets`` and
``metrics`` know which series people have. ``signals`` and ``limits`` build a rule, ``building`` a rollout.
``loading`` reads files and folders. ``reference`` writes the documentation, with ``editor_schema`` for
editors.
"""
