"""The prompt classes on the disk, so that a class has the same name after a restart."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from killswitch.errors import BadDocument
from killswitch.private_files import new_private_file
from killswitch.shadow.prompt_classes import UNSORTED, PromptClasses

log = logging.getLogger(__name__)


class PromptClassFile:
    """Prompt classes that are kept in a file. One that cannot be read begins again, and is said in the log."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._classes = PromptClasses()
        with contextlib.suppress(FileNotFoundError):
            try:
                self._classes = PromptClasses.from_json(path.read_bytes())
            except (OSError, BadDocument) as error:
                if isinstance(error, FileNotFoundError):
                    raise
                log.warning("%s: %s; prompts are sorted into new classes", path, error)
        self._saved = len(self._classes.names)

    def classify(self, prompt: str) -> str:
        """The class of a prompt. Founding classes writes the file first: a name that was used is never lost."""
        if not prompt.strip():
            return UNSORTED
        found = self._classes.classify(prompt)
        if len(self._classes.names) != self._saved:
            self._save()
        return found

    def _save(self) -> None:
        temporary = self._path.with_name(f"{self._path.name}.tmp")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with new_private_file(temporary) as file:
                file.write(self._classes.to_json())
            temporary.replace(self._path)
        except OSError as error:
            log.warning(
                "%s: cannot be written (%s); a restart will name prompt classes again", self._path, error.strerror
            )
        self._saved = len(self._classes.names)
