"""Rule files: YAML in, `killswitch.model.Rollout` out, or every error at once.

``document`` reads YAML with line numbers; ``schema`` says what may stand in a file; ``presets`` knows the
metrics people have; ``building`` makes rollouts of it; ``loading`` reads files and folders.
"""
