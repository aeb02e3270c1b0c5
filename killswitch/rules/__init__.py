"""Rule files: YAML in, `killswitch.model.Rollout` out, or every error at once.

``document`` reads YAML with line numbers; ``units`` and ``selectors`` read the texts in it; ``values`` and
``schema`` say what may stand where; ``presets`` and ``metrics`` know which series people have; ``signals`` and
``limits`` make a rule of that and ``building`` a rollout; ``loading`` reads files and folders; ``reference``
writes the documentation.
"""
