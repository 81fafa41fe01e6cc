"""In which form a checkpoint is asked about screens: what its training wrote beside its weights."""

from __future__ import annotations

import json
from pathlib import Path

from magma_contracts.errors import ConfigError
from magma_policy.errors import shown
from magma_policy.files.json_files import read_object
from magma_policy.screens.agent import Form

FILE = "screens.json"


def asked_form(folder: Path) -> Form:
    """The form that a checkpoint was taught, the published one for web pages when it does not say.

    Raises:
        ConfigError: the file is there and says something else.
    """
    path = folder / FILE
    if not path.is_file():
        return Form.WEB
    said = read_object(path)
    forms = {form.value: form for form in Form}
    if set(said) != {"form"} or said["form"] not in forms:
        raise ConfigError(f'{path} must be {{"form": one of {", ".join(forms)}}}, got {shown(said)}')
    return forms[said["form"]]


def write_form(folder: Path, form: Form) -> None:
    """Inverse of `asked_form`."""
    (folder / FILE).write_text(json.dumps({"form": form.value}) + "\n", encoding="utf-8")
